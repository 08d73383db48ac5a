"""The log writer: takes what arrived on the bus, appends it in one commit, tells the senders what became of it."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable, Sequence
from typing import Final

import asyncpg
import structlog

from runstream_projections.decisions import ACCEPTED
from runstream_schemas.errors import Conflict, RequestError, RunstreamError
from runstream_schemas.events import RunLogged
from runstream_schemas.positions import Head
from runstream_services.adapters import postgres_log
from runstream_services.adapters.in_process_bus import InProcessBus
from runstream_services.adapters.postgres import Line, is_of_the_data
from runstream_services.log_tail import LogTail
from runstream_services.log_writer.core import number, without
from runstream_services.ports import CoDecider, Delivery, Outcome, Recorded

log = structlog.get_logger()

#: One append takes what has arrived, up to these bounds; it never waits for more.
MAX_EVENTS: Final = 2_000
MAX_BYTES: Final = 8 << 20

#: Tries after PostgreSQL went away: quick at first, then farther and farther apart.
FIRST_PAUSE_S: Final = 0.02
LONGEST_PAUSE_S: Final = 1.0


class LogWriter:
    """Appends the events of one bus, one batch at a time, and decides them in the same commit."""

    def __init__(
        self, bus: InProcessBus, line: Line, decider: CoDecider, tail: LogTail, now_us: Callable[[], int]
    ) -> None:
        self._bus = bus
        self._line = line
        self._decider = decider
        self._tail = tail
        self._now_us = now_us
        self._head: Head | None = None
        self._origin_id = 0
        self._next_offset = 0
        self.appends = 0
        self.append_s = 0.0
        self.appended = 0
        self.appended_points = 0
        self.rejected = 0
        self.dead_lettered = 0

    async def run(self) -> None:
        """Append until the bus is closed and drained."""
        while batch := await self._bus.receive(MAX_EVENTS, MAX_BYTES):
            # A sender whose deadline passed was told that its event may take effect; not appending it is kinder.
            await self.append([d for d in batch if d.outcome is None or not d.outcome.done()])

    async def append(self, deliveries: Sequence[Delivery]) -> None:
        """Append ``deliveries``, however often it takes; what can never be appended becomes a dead letter."""
        pause_s = FIRST_PAUSE_S
        refused: Exception | None = None
        told = False
        while deliveries:
            remembered = self._head is not None
            try:
                async with self._line.use("appending to the log") as connection:
                    if refused is None:
                        await self._append_once(connection, deliveries)
                    else:
                        await self._dead_letter(connection, deliveries[0], refused)
                if told:
                    log.info("the log takes events again")
                return
            except (RunstreamError, asyncpg.PostgresError, ValueError, struct.error, MemoryError) as error:
                self._head = None
                if not is_of_the_data(error):
                    # A rebuild of the decisions moves their checkpoint once, and their old version may be dropped.
                    routine = isinstance(error, Conflict | asyncpg.UndefinedTableError) and pause_s == FIRST_PAUSE_S
                    told = told or not routine
                    say = log.warning if told else log.debug
                    reason = str(error) or repr(error)
                    say("the log takes no events", reason=reason, retry_in_s=pause_s, events=len(deliveries))
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                    deliveries = [d for d in deliveries if d.outcome is None or not d.outcome.done()]
                elif refused is not None:
                    raise
                elif len(deliveries) > 1:
                    # Halve what can never be appended until the event at fault is alone.
                    middle = len(deliveries) // 2
                    await self.append(deliveries[:middle])
                    deliveries = deliveries[middle:]
                elif not remembered:  # what was remembered may have been at fault: blame the event only without it
                    refused = error

    async def _append_once(self, connection: asyncpg.Connection, deliveries: Sequence[Delivery]) -> None:
        fresh = deliveries
        if self._head is None:
            # After a failure nobody knows whether the last append took effect: the log itself does.
            self._head = await self._resume(connection)
            fresh = await self._settle_repeats(connection, deliveries)
            # The origin is past these: they are dead letters, or another writer of the origin took its place.
            fresh = [d for d in fresh if d.offset >= self._next_offset]
        try:
            await self._commit(connection, self._head, fresh)
        except asyncpg.UniqueViolationError as error:
            if error.table_name != "event_ids":
                raise
            fresh = await self._settle_repeats(connection, deliveries)
            await self._commit(connection, self._head, fresh)
        if len(fresh) < len(deliveries):
            # What repeats an event of this very batch has its outcome only now.
            await self._settle_repeats(connection, deliveries)

    async def _resume(self, connection: asyncpg.Connection) -> Head:
        self._origin_id, self._next_offset = await postgres_log.open_origin(connection, self._bus.origin)
        await self._decider.reset()
        head = await postgres_log.read_head(connection)
        self._tail.reach(head.position)
        return head

    async def _commit(self, connection: asyncpg.Connection, before: Head, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        began_s = time.perf_counter()
        draft = await self._decider.draft(before.position, deliveries)
        numbered = number(before, self._bus.origin, deliveries, self._now_us())
        next_offset = deliveries[-1].offset + 1
        await postgres_log.append(
            connection,
            before,
            numbered,
            deliveries,
            (self._origin_id, self._next_offset, next_offset),
            self._decider.lease,
            draft.statements,
        )
        self._head, self._next_offset = numbered.head, next_offset
        self._decider.accept(draft)
        self.appends += 1
        self.append_s += time.perf_counter() - began_s
        self.appended += len(deliveries)
        self.appended_points += _points(deliveries)
        self.rejected += sum([decision.verdict == "rejected" for decision in draft.decisions.values()])
        recorded = []
        for position, (delivery, experiment_id) in enumerate(
            zip(deliveries, draft.experiments, strict=True), before.position + 1
        ):
            decision = draft.decisions.get(position, ACCEPTED)
            released = position in draft.releases
            recorded.append(
                Recorded(position, delivery.envelope, delivery.event, decision, released, delivery.size, experiment_id)
            )
            if delivery.outcome is not None and not delivery.outcome.done():
                delivery.outcome.set_result(Outcome(position, decision))
        self._tail.extend(recorded)

    async def _settle_repeats(self, connection: asyncpg.Connection, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Give repeats of events in the log the first one's outcome; return the others."""
        known = await postgres_log.positions_of(connection, [d.envelope.id for d in deliveries])
        fresh, repeats = without(deliveries, known)
        decided = await self._decider.decided([known[d.envelope.id] for d in repeats if d.envelope.id in known])
        for delivery in repeats:
            position = known.get(delivery.envelope.id)
            if position is not None and delivery.outcome is not None and not delivery.outcome.done():
                delivery.outcome.set_result(Outcome(position, decided.get(position, ACCEPTED), repeats=True))
        return fresh

    async def _dead_letter(self, connection: asyncpg.Connection, delivery: Delivery, refused: Exception) -> None:
        """Keep an event that can never be appended where people find it, and tell its sender."""
        reason = f"{type(refused).__name__}: {refused}"
        self._head = await self._resume(connection)
        if delivery.offset >= self._next_offset:  # else it is there already, and only the answer was lost
            log.error("an event cannot be stored", event_id=str(delivery.envelope.id), reason=reason)
            await postgres_log.dead_letter(
                connection, (self._origin_id, self._next_offset), delivery, reason, self._now_us()
            )
            self._next_offset = delivery.offset + 1
            self.dead_lettered += 1
        if delivery.outcome is not None and not delivery.outcome.done():
            delivery.outcome.set_exception(
                RequestError("INVALID_PARAMETER_VALUE", f"the event cannot be stored, it is a dead letter: {reason}")
            )


def _points(deliveries: Sequence[Delivery]) -> int:
    """The metric points of a batch: one look at each event, none at a point."""
    logged = [d.event.metrics for d in deliveries if isinstance(d.event, RunLogged)]
    return sum([len(metrics) for metrics in logged if metrics is not None])
