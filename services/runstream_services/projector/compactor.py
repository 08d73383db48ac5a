"""Compacts the metric blocks: merges the tails of runs while they log, and once more when they fall silent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import asyncpg
import structlog

from runstream_projections import metric_blocks
from runstream_projections.chunk import decode
from runstream_projections.compaction import TAIL_POINTS, TAIL_ROWS, Merge, RowInfo, merge, plan
from runstream_projections.projection import Statement
from runstream_schemas.errors import CheckpointMoved, Conflict, RunstreamError, Transient
from runstream_services.adapters import postgres_projections
from runstream_services.adapters.postgres import Line
from runstream_services.adapters.postgres_projections import Standing

log = structlog.get_logger()

#: A run that logged nothing for so long is compacted as if it had ended.
IDLE_S: Final = 5.0
LOOK_S: Final = 0.25
#: Runs whose tails are remembered, some 20 MB; those of others are looked for once these are done.
MAX_TAILS: Final = 50_000
#: After failures it looks again after longer and longer pauses.
LONGEST_PAUSE_S: Final = 4.0


@dataclass(slots=True)
class _Tail:
    rows: int = 0
    points: int = 0
    touched_at: float = 0.0


class Compactor:
    """Watches what the projector adds to ``metric_blocks`` and merges it in the background."""

    def __init__(
        self, line: Line, owner: str, standing: Callable[[], Standing | None], clock: Callable[[], float]
    ) -> None:
        self._line = line
        self._owner = owner
        self._standing = standing
        self._clock = clock
        self._tails: dict[str, _Tail] = {}
        self._looked_at: tuple[int, int] | None = None
        self._more = False
        self._stopping = asyncio.Event()
        self.merges = 0

    def added(self, run_id: str, points: int) -> None:
        """A tail row was added."""
        tail = self._tails.get(run_id)
        if tail is None:
            if len(self._tails) >= MAX_TAILS:
                self._more = True
                return
            tail = self._tails[run_id] = _Tail()
        tail.rows += 1
        tail.points += points
        tail.touched_at = self._clock()

    def stop(self) -> None:
        """Finish the merge in hand and return from ``run``."""
        self._stopping.set()

    async def run(self) -> None:
        """Compact until told to stop."""
        pause_s = LOOK_S
        while not self._stopping.is_set():
            try:
                await self._round()
                pause_s = LOOK_S
            except (Transient, Conflict, asyncpg.UndefinedTableError) as error:
                # It is routine that another version is read now, and the old one dropped.
                say = log.warning if isinstance(error, Transient) else log.debug
                say("compaction starts over", reason=str(error), retry_in_s=pause_s)
                self._looked_at, pause_s = None, min(2 * pause_s, LONGEST_PAUSE_S)
            except Exception as error:  # whatever it is: the server goes on, and so do other runs
                log.error("compaction failed", reason=repr(error), exc_info=not isinstance(error, RunstreamError))
                self._looked_at, pause_s = None, min(2 * pause_s, LONGEST_PAUSE_S)
            try:
                async with asyncio.timeout(pause_s):
                    await self._stopping.wait()
            except TimeoutError:
                pass

    async def _round(self) -> None:
        standing = self._standing()
        if standing is None:
            return
        # Another version may be read since the last look, or another owner may have folded meanwhile.
        if self._looked_at != (standing.version, standing.epoch) or (self._more and not self._tails):
            await self._find_tails(standing)
        now = self._clock()
        for run_id, tail in list(self._tails.items()):
            idle = now - tail.touched_at >= IDLE_S
            if not (idle or tail.rows >= TAIL_ROWS or tail.points >= TAIL_POINTS) or self._stopping.is_set():
                continue
            if idle:
                del self._tails[run_id]
            else:
                self._tails[run_id] = _Tail(touched_at=tail.touched_at)
            await self.compact(run_id, standing, idle=idle)

    async def _find_tails(self, standing: Standing) -> None:
        """What an earlier process left behind, or this one could not remember."""
        async with self._line.use("looking for tails to compact") as connection:
            rows = await connection.fetch(
                f"select run_id, count(*), sum(points) from metric_tail{standing.suffix} group by run_id limit $1",
                MAX_TAILS,
            )
        self._more = len(rows) == MAX_TAILS
        for run_id, count, points in rows:
            self._tails.setdefault(run_id, _Tail(count, int(points), self._clock()))
        self._looked_at = standing.version, standing.epoch

    async def compact(self, run_id: str, standing: Standing, *, idle: bool) -> None:
        """Merge what the plan says, until it says nothing.

        Raises :class:`CheckpointMoved` where ``standing`` is another owner's by now, or the rows are not as planned.
        """
        async with self._line.use(f"compacting run {run_id}") as connection:
            while not self._stopping.is_set():
                rows = await connection.fetch(metric_blocks.rows_query(standing.suffix), run_id)
                infos = [
                    RowInfo(number, row["position"], row["level"], row["points"], row["bytes"])
                    for number, row in enumerate(rows)
                ]
                chosen = plan(infos, idle=idle)
                if chosen is None:
                    return
                await self._merge(connection, run_id, standing, chosen, [rows[number] for number in chosen.row_ids])
                self.merges += 1

    async def _merge(
        self, connection: asyncpg.Connection, run_id: str, standing: Standing, chosen: Merge, rows: list[asyncpg.Record]
    ) -> None:
        suffix = standing.suffix
        tail = [row["position"] for row in rows if row["level"] == 0]
        groups = sorted({row["position"] for row in rows if row["level"] > 0})
        stored = [r["data"] for r in await connection.fetch(metric_blocks.chunks_query(suffix), run_id, tail, groups)]
        # numpy and zstd let go of the interpreter: requests are answered meanwhile.
        statement = await asyncio.to_thread(_merged, stored, suffix, run_id, chosen)
        async with connection.transaction():
            await postgres_projections.confirm_lease(connection, self._owner, standing)
            removed: list[tuple[int, ...]] = []
            for sql, values in zip(metric_blocks.removals(suffix), (tail, groups), strict=True):
                removed += map(tuple, await connection.fetch(sql, run_id, values))
            # Another merge may have put other rows in the place of those that were read, and as many.
            if sorted(removed) != sorted((r["position"], r["part"], r["level"], r["points"]) for r in rows):
                raise CheckpointMoved(f"another process compacts run {run_id}")
            await connection.execute(statement.sql, *statement.args)


def _merged(stored: list[bytes], suffix: str, run_id: str, chosen: Merge) -> Statement:
    blocks = merge([decode(data) for data in stored])
    return metric_blocks.replacement(suffix, run_id, chosen.group, chosen.level, blocks)
