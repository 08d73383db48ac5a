"""The newest events of the log, decoded, handed from the log writer to the projector of the same process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from runstream_services.ports import Recorded

#: Above either bound the oldest events are forgotten: a projector that is further behind reads the database. Bytes are
#: those that events take in memory, ten times their text where it is short.
MAX_EVENTS: Final = 10_000
MAX_BYTES: Final = 48 << 20

#: What a reader takes at once. That there is so much is worth telling a reader that waits for more.
CHANGE_EVENTS: Final = 5_000
CHANGE_BYTES: Final = 24 << 20


class LogTail:
    """A bounded window on the end of the log; positions in it have no holes."""

    def __init__(self) -> None:
        self._events: deque[Recorded] = deque()
        self._bytes = 0
        self.head = 0
        #: Called when the window holds a whole change: to gather longer would only push its beginning out.
        self.on_full: Callable[[], None] = lambda: None
        self._grown: set[asyncio.Future[None]] = set()

    def extend(self, events: Sequence[Recorded]) -> None:
        """Add the events of one append, which follow one another."""
        if not events:
            return
        # The head says nothing of the window: it also moves past events that are not in it (another process's, and
        # those whose append was in doubt).
        if self._events and events[0].position != self._events[-1].position + 1:
            self._clear()
        self._events.extend(events)
        self._bytes += sum([e.size for e in events])
        while len(self._events) > MAX_EVENTS or self._bytes > MAX_BYTES:
            self._forget_first()
        self.reach(events[-1].position)
        if self.is_full():
            self.on_full()

    def is_full(self) -> bool:
        """Tell whether the window holds as much as one change takes."""
        return len(self._events) >= CHANGE_EVENTS or self._bytes >= CHANGE_BYTES

    def reach(self, position: int) -> None:
        """The log goes on to ``position``, perhaps written by another process."""
        if position > self.head:
            self.head = position
            for waiter in self._grown:
                if not waiter.done():
                    waiter.set_result(None)
            self._grown.clear()

    def after(self, position: int, limit: int, max_bytes: int) -> list[Recorded] | None:
        """Return the events after ``position``, at least one; None when they are not all in the window."""
        events = self._events
        if not events or events[0].position > position + 1 or events[-1].position <= position:
            return None
        start = position + 1 - events[0].position
        taken: list[Recorded] = []
        size = 0
        for at in range(start, min(len(events), start + limit)):
            event = events[at]
            size += event.size
            if taken and size > max_bytes:
                break
            taken.append(event)
        return taken

    def forget_through(self, position: int) -> None:
        """Drop what every reader has folded."""
        if self._events and self._events[-1].position <= position:
            self._clear()
        while self._events and self._events[0].position <= position:
            self._forget_first()

    def _forget_first(self) -> None:
        self._bytes -= self._events.popleft().size

    def _clear(self) -> None:
        self._events.clear()
        self._bytes = 0

    async def wait_past(self, position: int, timeout_s: float) -> None:
        """Return when the log goes on past ``position``, or after ``timeout_s``."""
        if self.head > position:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._grown.add(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            pass
        finally:
            self._grown.discard(waiter)
