"""Events as clients send them, for tests that feed the log."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

import msgspec

from runstream_schemas.codec import encode_payload
from runstream_schemas.envelope import Envelope
from runstream_schemas.events import CURRENT_VERSION, Event
from runstream_schemas.ids import uuid7

#: 2026-01-01 in milliseconds: ids and times of tests are drawn from numbers, not from the clock.
START_MS = 1_767_225_600_000
YEAR_MS = 365 * 86_400_000


def event_id(number: int, at_ms: int = START_MS) -> UUID:
    """The id of a test's event by number: a UUIDv7 of about ``at_ms``, different for each number."""
    return uuid7(at_ms + number, number.to_bytes(10))


class Sent(NamedTuple):
    """One event on its way: what a sender chose."""

    id: UUID
    stream: str
    event: Event
    sent_at: int = START_MS
    actor: str | None = None
    writer: str | None = None
    sequence: int | None = None

    @property
    def envelope(self) -> Envelope:
        """What travels."""
        return Envelope(
            id=self.id,
            type=type(self.event).__name__,
            version=CURRENT_VERSION,
            stream=self.stream,
            sent_at=self.sent_at,
            payload=msgspec.Raw(encode_payload(self.event)),
            actor=self.actor,
            writer=self.writer,
            sequence=self.sequence,
        )
