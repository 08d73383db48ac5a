"""The bus of a server that is one process: a bounded queue that numbers what it carries.

Its origin is ``embedded/<boot id>``, from offset 0: every boot is a new origin, since a queue in memory does not
outlive its process.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from runstream_schemas.envelope import Envelope
from runstream_schemas.errors import RequestError, Unavailable
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

    @property
    def queued_bytes(self) -> int:
        """About what those take in memory."""
        return self._bytes

    async def emit(self, envelope: Envelope, event: Event, deadline_s: float) -> Outcome:
        """Send one event and wait for what becomes of it.

        Raises :class:`Unavailable` at once when the queue is full, and after ``deadline_s`` when nothing came of the
        event yet: it may still take effect.
        """
        size = memory_bytes(envelope, event)
        self._check_room(1, size)
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Outcome] = loop.create_future()
        self._put(envelope, event, outcome, size)
        self._wake()
        timer = loop.call_later(deadline_s, _expire, [outcome], deadline_s)
        try:
            return await outcome
        finally:
            timer.cancel()

    async def emit_all(
        self, events: Sequence[tuple[Envelope, Event]], deadline_s: float
    ) -> list[Outcome | RequestError]:
        """Send events, to be appended in this order, and wait for what becomes of each.

        One that can never be stored has its refusal in its place. Raises :class:`Unavailable` at once, with nothing
        sent, where the queue has no room for all of them, and after ``deadline_s`` when nothing came of one yet.
        """
        sizes = [memory_bytes(envelope, event) for envelope, event in events]
        self._check_room(len(events), sum(sizes))
        loop = asyncio.get_running_loop()
        outcomes: list[asyncio.Future[Outcome]] = [loop.create_future() for _ in events]
        for (envelope, event), outcome, size in zip(events, outcomes, sizes, strict=True):
            self._put(envelope, event, outcome, size)
        self._wake()
        timer = loop.call_later(deadline_s, _expire, outcomes, deadline_s)
        told: list[Outcome | RequestError] = []
        try:
            # One append tells many at once: whoever waits for the first wakes up once for all of them.
            for outcome in outcomes:
                try:
                    told.append(await outcome)
                except RequestError as refusal:
                    told.append(refusal)
        finally:
            timer.cancel()
            for outcome in outcomes[len(told) :]:
                _give_up(outcome)
        return told

    def _check_room(self, events: int, size: int) -> None:
        if self._closed or len(self._queue) + events > self._max_events or self._bytes + size > self._max_bytes:
            raise Unavailable(
                "the server is stopping" if self._closed else f"{len(self._queue)} events already wait for the log"
            )

    def _put(self, envelope: Envelope, event: Event, outcome: asyncio.Future[Outcome], size: int) -> None:
        self._queue.append(Delivery(self._next_offset, envelope, event, outcome, size))
        self._next_offset += 1
        self._bytes += size

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


def _expire(outcomes: Sequence[asyncio.Future[Outcome]], deadline_s: float) -> None:
    for outcome in outcomes:
        if not outcome.done():
            outcome.set_exception(
                Unavailable(f"the log did not answer within {deadline_s:g} s; what was sent may still take effect")
            )


def _give_up(outcome: asyncio.Future[Outcome]) -> None:
    """Nobody waits any more: what the log did not take yet need not be appended, and a failure is told to nobody."""
    if not outcome.cancel() and not outcome.cancelled():
        outcome.exception()
