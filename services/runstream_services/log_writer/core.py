"""What the log writer decides: which deliveries become events, their numbers, and the chain of hashes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from uuid import UUID

import zstandard

from runstream_schemas.chain import link
from runstream_schemas.positions import Head, Origin
from runstream_services.ports import Delivery, Numbered

_compress = zstandard.ZstdCompressor(level=1, write_checksum=False).compress


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


def without(deliveries: Sequence[Delivery], known: dict[UUID, int]) -> tuple[list[Delivery], list[Delivery]]:
    """Split deliveries into those to append and repeats, of events in the log (``known``) or earlier in the batch."""
    fresh: list[Delivery] = []
    repeats: list[Delivery] = []
    seen = set(known)
    for delivery in deliveries:
        (repeats if delivery.envelope.id in seen else fresh).append(delivery)
        seen.add(delivery.envelope.id)
    return fresh, repeats
