"""What the log writer decides: which deliveries become events, their numbers, and the chain of hashes. Pure."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final
from uuid import UUID

import zstandard

from runstream_schemas.envelope import Envelope
from runstream_schemas.positions import Head, Origin
from runstream_services.ports import Delivery

_compress = zstandard.ZstdCompressor(level=1, write_checksum=False).compress
_NUMBERS: Final = struct.Struct(">QqQqqH")


@dataclass(frozen=True, slots=True)
class Numbered:
    """Deliveries as the next rows of the log: one column per field, in order."""

    head: Head
    payloads: list[bytes]
    hashes: list[bytes]
    chains: list[bytes]


def number(before: Head, origin: Origin, deliveries: Sequence[Delivery], now: int) -> Numbered:
    """Number and chain ``deliveries`` behind ``before``.

    ``now`` is in microseconds; a clock that went back does not take the log's time back.
    """
    at = max(now, before.recorded_at)
    chain, position = before.chain, before.position
    payloads, hashes, chains = [], [], []
    for delivery in deliveries:
        position += 1
        payload = bytes(delivery.envelope.payload)
        digest = sha256(payload).digest()
        chain = link(chain, position, at, origin, delivery.offset, delivery.envelope, digest)
        payloads.append(_compress(payload))
        hashes.append(digest)
        chains.append(chain)
    return Numbered(Head(position, chain, at), payloads, hashes, chains)


def link(
    previous: bytes, position: int, at: int, origin: Origin, offset: int, envelope: Envelope, payload_sha256: bytes
) -> bytes:
    """Return the chain hash of one event: over the one before it and everything about it that never changes."""
    texts = (envelope.stream, envelope.type, envelope.actor, envelope.writer, origin.topic)
    parts = [
        previous,
        _NUMBERS.pack(position, at, offset, envelope.sent_at, origin.partition, envelope.version),
        envelope.id.bytes,
        b"-" if envelope.sequence is None else b"%d" % envelope.sequence,
        payload_sha256,
    ]
    for text in texts:
        # A length before each text: no two different rows have the same bytes; -1 stands for null.
        encoded = b"" if text is None else text.encode()
        parts.append(struct.pack(">i", -1 if text is None else len(encoded)))
        parts.append(encoded)
    return sha256(b"".join(parts)).digest()


def without(deliveries: Sequence[Delivery], known: dict[UUID, int]) -> tuple[list[Delivery], list[Delivery]]:
    """Split deliveries into those to append and repeats, of events in the log (``known``) or earlier in the batch."""
    fresh: list[Delivery] = []
    repeats: list[Delivery] = []
    seen = set(known)
    for delivery in deliveries:
        (repeats if delivery.envelope.id in seen else fresh).append(delivery)
        seen.add(delivery.envelope.id)
    return fresh, repeats
