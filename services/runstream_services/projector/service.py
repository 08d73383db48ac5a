"""The projector: folds the decided log into the read projections, one change for many events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import asyncpg
import structlog

from runstream_projections import decision_tables
from runstream_projections.catalogue import PROJECTIONS
from runstream_projections.metric_blocks import METRIC_BLOCKS
from runstream_projections.projection import Batch, Effective, Statement
from runstream_schemas.errors import CheckpointMoved, RunstreamError, Transient, Unavailable
from runstream_schemas.ids import run_of, run_stream
from runstream_services.adapters import postgres_log, postgres_projections
from runstream_services.adapters.postgres import Line, is_of_the_data
from runstream_services.adapters.postgres_projections import Standing
from runstream_services.log_tail import CHANGE_BYTES, CHANGE_EVENTS, LogTail
from runstream_services.projector import parking
from runstream_services.projector.core import Coalescing, Decided, effective, effective_in_order

log = structlog.get_logger()

#: How often the log is looked at when nothing says that it grew (it may grow in another process).
POLL_S: Final = 0.1

#: After a failure; then twice as long each time, up to a second.
FIRST_PAUSE_S: Final = 0.05


class Projector:
    """Owns the live versions of the read projections and keeps them at the head of the log."""

    def __init__(
        self,
        line: Line,
        tail: LogTail,
        owner: str,
        *,
        by_force: bool,
        coalescing: Coalescing | None = None,
        on_tail_row: Callable[[str, int], None] = lambda run_id, points: None,
    ) -> None:
        self._line = line
        self._tail = tail
        self._owner = owner
        self._by_force = by_force
        self._coalescing = coalescing or Coalescing()
        self._standing: dict[str, Standing] = {}
        self._parked: dict[str, dict[str, int]] = {}
        self._versions: dict[str, int] = {}
        self._changed: asyncio.Future[None] | None = None
        self._hurry = asyncio.Event()
        tail.on_full = self._hurry.set
        self._last_change_s = 0.0
        self._stopping = False
        self._doubted = False
        self._on_tail_row = on_tail_row
        self.folded = 0
        self.folds = 0
        self.fold_s = 0.0

    # What readers ask

    def standing(self, name: str) -> Standing | None:
        """The version of a projection that is read, and how far it is; None while this process does not hold it."""
        return self._standing.get(name)

    def positions(self) -> dict[str, int]:
        """How far each projection is that this process holds; empty while that is in doubt."""
        return {} if self._doubted else {name: held.position for name, held in sorted(self._standing.items())}

    def parked_at(self, stream: str) -> tuple[str, int] | None:
        """The projection that cannot fold this stream, and the position that it stopped at."""
        for name, streams in self._parked.items():
            if stream in streams:
                return name, streams[stream]
        return None

    async def wait_for(self, names: Sequence[str], position: int, deadline_s: float) -> dict[str, str]:
        """Wait until ``names`` contain the log up to ``position``; return the ending of each one's table names.

        Raises :class:`Unavailable` after ``deadline_s``.
        """
        try:
            async with asyncio.timeout(deadline_s):
                while True:
                    standing = [self._standing.get(name) for name in names]
                    if not self._doubted and all(s is not None and s.position >= position for s in standing):
                        return {s.name: s.suffix for s in standing if s is not None}
                    self._hurry.set()
                    if self._changed is None or self._changed.done():
                        self._changed = asyncio.get_running_loop().create_future()
                    await asyncio.shield(self._changed)
        except TimeoutError:
            behind = ", ".join(n for n in names if n not in self._standing or self._standing[n].position < position)
            raise Unavailable(f"{behind} did not reach position {position} within {deadline_s:g} s") from None

    async def confirm(self, connection: asyncpg.Connection) -> None:
        """Compare what is remembered with what PostgreSQL has, on a new connection and before anything is read by it.

        Projections commit without fsync: PostgreSQL may come back from a crash without their last commits, and without
        a rebuild's switch; every connection from before it is gone. Raises :class:`Unavailable` until what is missing
        was folded again.
        """
        remembered = dict(self._standing)
        stored = {s.name: s for s in await postgres_projections.live(connection)}
        for name, held in remembered.items():
            found = stored[name]
            if (found.version, found.epoch) != (held.version, held.epoch) or found.position < held.position:
                self._doubted = True
                self._hurry.set()
        if self._doubted:
            raise Unavailable("the projections are not as they were: PostgreSQL crashed, or another version is read")

    # The loop

    async def run(self) -> None:
        """Fold until told to stop; after a failure of PostgreSQL or of the lease, look at where things stand again."""
        pause_s = FIRST_PAUSE_S
        while not self._stopping:
            try:
                async with self._line.use("taking over the projections") as connection:
                    await self._take_over(connection)
                pause_s = FIRST_PAUSE_S
                while not self._stopping and not self._doubted:
                    await self._step()
            except Exception as error:  # whatever it is: a server that takes writes must not end for it
                moved = isinstance(error, CheckpointMoved)
                if moved:
                    self._standing = {}  # who works with what is held here, as compaction does, stops
                expected = moved or isinstance(error, Transient)
                # A rebuild switches versions once; that another process holds them would be met again.
                routine = moved and pause_s == FIRST_PAUSE_S
                say = log.debug if routine else log.warning if expected else log.error
                reason = str(error) if isinstance(error, RunstreamError) else repr(error)
                say("the projector starts over", reason=reason, retry_in_s=pause_s, exc_info=not expected)
                await asyncio.sleep(pause_s)
                pause_s = min(1.0, 2 * pause_s)

    def stop(self) -> None:
        """Finish the change in hand and return from ``run``."""
        self._stopping = True
        self._hurry.set()

    async def _take_over(self, connection: asyncpg.Connection) -> None:
        taken = await postgres_projections.take(connection, list(PROJECTIONS), self._owner, by_force=self._by_force)
        rows = await connection.fetch(
            "select p.name, p.stream, min(p.position) from parked_events p join projections using (name, version) "
            "where state = 'live' group by 1, 2"
        )
        parked: dict[str, dict[str, int]] = {name: {} for name in PROJECTIONS}
        for name, stream, position in rows:
            parked[name][stream] = position
        # At once: who sees where the projections stand sees what is parked in them.
        self._standing, self._parked, self._doubted = {s.name: s for s in taken}, parked, False
        self._wake()
        for standing in taken:
            if self._versions.get(standing.name, standing.version) != standing.version:
                log.info("another version is read now", projection=standing.name, version=standing.version)
        self._versions = {s.name: s.version for s in taken}

    async def _step(self) -> None:
        """Bring the projections that are furthest behind one change forward."""
        positions = {s.position for s in self._standing.values()}
        position = min(positions)
        group = [s for s in self._standing.values() if s.position == position]
        next_stop = min(positions - {position}, default=None)
        if next_stop is None:
            await self._gather(position)
        async with self._line.use("folding the log") as connection:
            batch = await self._next(connection, position, next_stop)
            if batch is None:
                return
            started = time.perf_counter()
            events, end = batch
            await self._change(connection, group, events, end)
            self._last_change_s = time.perf_counter() - started
        self.folded += end - position
        self.folds += 1
        self.fold_s += self._last_change_s
        self._tail.forget_through(min(s.position for s in self._standing.values()))

    async def _gather(self, position: int) -> None:
        """Wait for events, then for more of them, unless somebody waits to read."""
        if self._tail.head <= position:
            await self._tail.wait_past(position, POLL_S)
        behind = self._tail.is_full() or self._tail.head - position >= CHANGE_EVENTS
        if not behind and not self._hurry.is_set():
            try:
                async with asyncio.timeout(self._coalescing.pause_s(self._last_change_s)):
                    await self._hurry.wait()
            except TimeoutError:
                pass

    async def _next(
        self, connection: asyncpg.Connection, position: int, up_to: int | None
    ) -> tuple[list[Effective], int] | None:
        """Return what takes effect next and the position it reaches, None where the log ends here."""
        recent = self._tail.after(position, CHANGE_EVENTS, CHANGE_BYTES)
        if recent is not None and up_to is not None:
            recent = [e for e in recent if e.position <= up_to]
        if recent and not any(e.released or e.decision is None for e in recent):
            return effective(recent), recent[-1].position
        live = {s.name: s for s in await postgres_projections.live(connection)}
        if any((live[name].version, live[name].epoch) != (s.version, s.epoch) for name, s in self._standing.items()):
            # Nothing may come that could fail: a rebuild's new version is read from now on all the same.
            raise CheckpointMoved("another version of a projection is read now, or another process owns it")
        decisions = live[decision_tables.NAME]
        decided_to = decisions.position if up_to is None else min(up_to, decisions.position)
        self._tail.reach(decided_to)
        return await read_effective(connection, decisions.suffix, position, decided_to)

    async def _change(
        self, connection: asyncpg.Connection, group: Sequence[Standing], events: list[Effective], end: int
    ) -> None:
        """Fold and commit; what cannot be folded is found by halving, and parked."""
        try:
            statements, chunks = self._fold(group, events)
            moved = await postgres_projections.move(connection, self._owner, group, end, statements)
        except Exception as error:
            if not is_of_the_data(error):
                raise
            await self._halve(connection, group, events, end)
            return
        self._standing.update({s.name: s for s in moved})
        for run_id, points in chunks.items():
            self._on_tail_row(run_id, points)
        self._wake()

    def _fold(self, group: Sequence[Standing], events: list[Effective]) -> tuple[list[Statement], dict[str, int]]:
        statements: list[Statement] = []
        everything = Batch(events)
        tail_rows: dict[str, int] = {}
        for standing in group:
            batch, streams = everything, self._parked[standing.name]
            if streams:
                batch = Batch([e for e in events if e.stream not in streams])
                statements += [
                    parking.statement(standing, e, f"behind position {streams[e.stream]}")
                    for e in events
                    if e.stream in streams
                ]
            statements += parking.fold(standing, batch)
            if standing.name == METRIC_BLOCKS.name:
                tail_rows = {run_id: len(chunk) for run_id, (_, chunk) in batch.chunks.items()}
        return statements, tail_rows

    async def _halve(
        self, connection: asyncpg.Connection, group: Sequence[Standing], events: list[Effective], end: int
    ) -> None:
        if len(group) > 1:
            for standing in group:
                await self._change(connection, [standing], events, end)
            return
        [standing] = group
        # Events of one position (a run's creation and what waited for it) stay together: a checkpoint cannot part them.
        places = sorted({e.position for e in events})
        if len(places) > 1:
            middle = places[len(places) // 2 - 1]
            first = [e for e in events if e.position <= middle]
            await self._change(connection, group, first, middle)
            second = [e for e in events if e.position > middle]
            await self._change(connection, [self._standing[standing.name]], second, end)
            return
        foldable = [e for e in events if e.stream not in self._parked[standing.name]]
        reasons = await parking.reasons(connection, standing, foldable)
        if not reasons:
            raise Unavailable(f"{standing.name} could not fold position {end}, and then it could: it is tried again")
        for stream, reason in reasons.items():
            log.error("an event cannot be folded", projection=standing.name, position=end, stream=stream, reason=reason)
        parked = [parking.statement(standing, e, reasons[e.stream]) for e in foldable if e.stream in reasons]
        statements, _ = self._fold(group, [e for e in events if e.stream not in reasons])
        moved = await postgres_projections.move(connection, self._owner, group, end, [*statements, *parked])
        self._parked[standing.name].update({e.stream: e.position for e in foldable if e.stream in reasons})
        self._standing.update({s.name: s for s in moved})
        self._wake()

    def _wake(self) -> None:
        self._hurry.clear()  # here alone: who goes on waiting wakes, and is in a hurry again
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)


async def read_effective(
    connection: asyncpg.Connection, decisions_suffix: str, after: int, up_to: int, *, strict: bool = False
) -> tuple[list[Effective], int] | None:
    """Read the next events that take effect, as decided up to ``up_to``, and the position they reach.

    ``strict`` raises :class:`UnknownEventType` for an event that this release does not know; else it is left out.
    """
    page = await postgres_log.read_after(connection, after, CHANGE_EVENTS, up_to=up_to, strict=strict)
    if page.end == after:
        return None
    rows = await connection.fetch(decision_tables.DECIDED.replace("_vN", decisions_suffix), after, page.end)
    decided = [Decided(*row) for row in rows]
    late = await postgres_log.read_at(connection, [d.position for d in decided if d.position <= after])
    # A decision taken after this stretch is not yet one: the event still waits where the stretch ends.
    settled = [
        d if d.decided_at is None or d.decided_at <= page.end else d._replace(verdict="waiting") for d in decided
    ]
    streams = {e.envelope.stream for e in (*page.events, *late)}
    found = await connection.fetch(
        decision_tables.EXPERIMENTS_OF_RUNS.replace("_vN", decisions_suffix), list(map(run_of, streams))
    )
    experiments = {run_stream(run_id): number for run_id, number in found}
    return effective_in_order(page.events, settled, late, experiments), page.end
