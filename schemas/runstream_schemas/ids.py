"""Ids: events are UUIDv7, or UUIDv8 made of a caller's key; runs are 32 hex digits, streams are named after what they
hold.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

EXPERIMENTS: Final = "experiments"
RUN_PREFIX: Final = "run/"

#: The event that creates experiment "0": the same on every server, so that starting again is a duplicate.
DEFAULT_EXPERIMENT_EVENT: Final = UUID("00000000-0000-7000-8000-000000000000")


def uuid7(milliseconds: int, randomness: bytes) -> UUID:
    """Return the UUIDv7 (RFC 9562) of a Unix time in milliseconds and ten random bytes."""
    bits = (
        (milliseconds & 0xFFFF_FFFF_FFFF) << 80
        | 0x7000 << 64
        | int.from_bytes(randomness[:2]) % 0x1000 << 64
        | 0x8000_0000_0000_0000
        | int.from_bytes(randomness[2:10]) & 0x3FFF_FFFF_FFFF_FFFF
    )
    return UUID(int=bits)


def uuid8(digest: bytes) -> UUID:
    """Return the UUIDv8 (RFC 9562) of a hash's first 16 bytes: the same for the same, and no UUIDv7 is equal to it."""
    bits = int.from_bytes(digest[:16]) & ~(0xF << 76) & ~(0x3 << 62)
    return UUID(int=bits | 0x8 << 76 | 0x2 << 62)


def run_stream(run_id: str) -> str:
    """Return the stream that holds everything of one run."""
    return RUN_PREFIX + run_id


def run_of(stream: str) -> str:
    """Return the run id of a run's stream; the caller knows that it is one."""
    return stream[len(RUN_PREFIX) :]
