"""The envelope: what every event carries besides its payload."""

from __future__ import annotations

from uuid import UUID

import msgspec


class Envelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event as it travels and as it is stored.

    ``payload`` is the event's own JSON, kept as the bytes that were sent: its hash is part of the log's chain.
    ``sent_at`` is the sender's clock in milliseconds; ``writer`` and ``sequence`` order one sender's events within a
    stream; ``actor`` is who sent it by the name of a token, which the gateway writes, None when nobody was asked. What
    an HTTP call with an ``Idempotency-Key`` sent has the writer ``request/`` and the SHA-256 of the call's body.
    """

    id: UUID
    type: str
    version: int
    stream: str
    sent_at: int
    payload: msgspec.Raw
    actor: str | None = None
    writer: str | None = None
    sequence: int | None = None
