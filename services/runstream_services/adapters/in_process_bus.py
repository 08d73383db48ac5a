"""The bus of a server that is one process: a bounded queue that numbers what it carries.

Its origin is ``embedded/<boot id>``, from offset 0: every boot is a new origin, since a queue in memory does not
outlive its process.
"""

from __future__ import annotations

import asyncio
from collections import deque

from runstream_schemas.envelope import Envelope
from runstream_schemas.errors import Unavailable
from runstream_schemas.events import Event
from runstream_schemas.positions import Origin
from runstream_services.ports import Delivery, Outcome, memory_bytes


class InProcessBus:
    """Carries events from gateways to the log writer of the same process; a sender gets the event's outcome."""

    def __init__(self, boot_id: str, *, max_events: int = 10_000, max_bytes: int = 128 << 20) -> None:
        self.origin = Origin(f"embedded/{boot_id}", 0)
        self._queue: deque[Delivery] = deque()
        self._bytes = 0
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._next_offset = 0
        self._arrived: asyncio.Future[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        """Events that wait to be taken."""
        return len(self._queue)

    async def emit(self, envelope: Envelope, event: Event, deadline_s: float) -> Outcome:
        """Send one event and wait for what becomes of it.

        Raises :class:`Unavailable` at once when the queue is full, and after ``deadline_s`` when nothing came of the
        event yet: it may still take effect.
        """
        size = memory_bytes(envelope, event)
        if self._closed or len(self._queue) >= self._max_events or self._bytes + size > self._max_bytes:
            raise Unavailable(
                "the server is stopping" if self._closed else f"{len(self._queue)} events already wait for the log"
            )
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Outcome] = loop.create_future()
        self._queue.append(Delivery(self._next_offset, envelope, event, outcome, size))
        self._next_offset += 1
        self._bytes += size
        self._wake()
        timer = loop.call_later(deadline_s, _expire, outcome, deadline_s)
        try:
            return await outcome
        finally:
            timer.cancel()

    async def receive(self, max_events: int, max_bytes: int) -> list[Delivery]:
        """Return what has arrived, as soon as there is something; nothing when the bus is closed and drained."""
        while not self._queue:
            if self._closed:
                return []
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        taken: list[Delivery] = []
        payloads = 0
        while self._queue and len(taken) < max_events and (not taken or payloads < max_bytes):
            delivery = self._queue.popleft()
            self._bytes -= delivery.size
            payloads += len(delivery.envelope.payload)
            taken.append(delivery)
        return taken

    def close(self) -> None:
        """Refuse further events; what was accepted is still delivered."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)


def _expire(outcome: asyncio.Future[Outcome], deadline_s: float) -> None:
    if not outcome.done():
        outcome.set_exception(
            Unavailable(f"the log did not answer within {deadline_s:g} s; what was sent may still take effect")
        )
