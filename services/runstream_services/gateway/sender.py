"""Who sent a call, and how its repeats are known: what the gateway writes into the envelope of the call's event."""

from __future__ import annotations

from hashlib import sha256
from typing import Final, NamedTuple
from uuid import UUID

from runstream_schemas.errors import invalid
from runstream_schemas.ids import uuid8

#: How the writer of an event begins that comes from a call with an ``Idempotency-Key``.
REQUEST_WRITER: Final = "request/"

#: The version of the UUIDs that are made of an ``Idempotency-Key``.
KEYED_VERSION: Final = 8

#: The longest ``Idempotency-Key``.
MAX_KEY_BYTES: Final = 255


class Sender(NamedTuple):
    """``actor`` is the name of the token that came with the call, None where none is needed.

    With an ``Idempotency-Key`` the event has an id made of it, so that the log knows a repeat, and for its writer the
    hash of the call's body, so that the log tells a repeat from another call (``docs/decisions/0009``).
    """

    actor: str | None = None
    event_id: UUID | None = None
    writer: str | None = None

    def with_key(self, key: bytes, path: str, body: bytes) -> Sender:
        """The sender of a call with an ``Idempotency-Key``. Raises 400 for a key that is none."""
        if not 0 < len(key) <= MAX_KEY_BYTES or not all(0x21 <= byte <= 0x7E for byte in key):
            raise invalid(f"Idempotency-Key must be 1 to {MAX_KEY_BYTES} visible ASCII characters without spaces.")
        whole = b"\0".join(((self.actor or "").encode(), path.encode(), key))  # none of the three holds a NUL
        return self._replace(event_id=uuid8(sha256(whole).digest()), writer=REQUEST_WRITER + sha256(body).hexdigest())


#: Anyone may send, and nobody was asked who it is.
ANYONE: Final = Sender()
