"""The hash chain of the log: each event's hash covers the one before it and everything about it that never changes."""

from __future__ import annotations

import struct
from hashlib import sha256
from typing import Final

from runstream_schemas.envelope import Envelope
from runstream_schemas.positions import Origin

#: What the first event is chained to.
GENESIS: Final = bytes(32)

_NUMBERS: Final = struct.Struct(">QqQqqH")
_LENGTH: Final = struct.Struct(">i")


def link(
    previous: bytes, position: int, at: int, origin: Origin, offset: int, envelope: Envelope, payload_sha256: bytes
) -> bytes:
    """Return the chain hash of one event.

    The payload enters by its own hash, so that a payload can be erased and the chain still holds. ``at`` is the time
    of the append in microseconds.
    """
    parts = [
        previous,
        _NUMBERS.pack(position, at, offset, envelope.sent_at, origin.partition, envelope.version),
        envelope.id.bytes,
        b"-" if envelope.sequence is None else b"%d" % envelope.sequence,
        payload_sha256,
    ]
    for text in (envelope.stream, envelope.type, envelope.actor, envelope.writer, origin.topic):
        # A length before each text: no two different rows have the same bytes; -1 stands for null.
        encoded = b"" if text is None else text.encode()
        parts.append(_LENGTH.pack(-1 if text is None else len(encoded)))
        parts.append(encoded)
    return sha256(b"".join(parts)).digest()
