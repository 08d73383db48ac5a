"""The write path on a real database, one step at a time: a log writer, a decider and a projector without a gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from runstream_projections import decision_tables, inputs, metric_blocks, reads
from runstream_projections.catalogue import PROJECTIONS
from runstream_projections.chunk import decode, history
from runstream_services.adapters.in_process_bus import InProcessBus
from runstream_services.adapters.postgres import Database, Line
from runstream_services.adapters.postgres_projections import Standing
from runstream_services.log_tail import LogTail
from runstream_services.log_writer.service import LogWriter
from runstream_services.ports import Delivery, Outcome, memory_bytes
from runstream_services.projector.compactor import Compactor
from runstream_services.projector.core import Coalescing
from runstream_services.projector.decider import Decider
from runstream_services.projector.service import Projector
from runstream_services.projector.verify import content_hash
from tests.sent import Sent

#: How long a projector may take to reach the end of a test's log, and an append to tell what became of an event.
FOLDED_S = 60.0
TOLD_S = 15.0


class Clock:
    """Microseconds, as the test sets them; a tick each time somebody looks."""

    def __init__(self, now_us: int = 1_767_225_600_000_000, tick_us: int = 1) -> None:
        self.now_us = now_us
        self.tick_us = tick_us

    def __call__(self) -> int:
        self.now_us += self.tick_us
        return self.now_us


class Pipeline:
    """One process's services on a database; a new one is a restart, with a new origin and nothing in memory."""

    def __init__(self, database: Database, *, clock: Clock | None = None, coalescing: Coalescing | None = None) -> None:
        self.owner = str(uuid4())
        self.database = database
        self.bus = InProcessBus(self.owner)
        self.tail = LogTail()
        self.lines = [Line(database), *(Line(database, durable=False) for _ in range(2))]
        append, decide, fold = self.lines
        self.decider = Decider(decide, self.owner, by_force=True)
        self.writer = LogWriter(self.bus, append, self.decider, self.tail, clock or Clock())
        self.on_tail_row: Callable[[str, int], None] = lambda run_id, points: None
        self.projector = Projector(
            fold,
            self.tail,
            self.owner,
            by_force=True,
            coalescing=coalescing or Coalescing(0.0, 0.0),
            on_tail_row=lambda *row: self.on_tail_row(*row),  # noqa: PLW0108 -- a test sets it later
        )
        self._offsets = count()

    def delivery(self, sent: Sent) -> Delivery:
        """The event as the bus would deliver it, with an outcome to wait for."""
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        size = memory_bytes(sent.envelope, sent.event)
        return Delivery(next(self._offsets), sent.envelope, sent.event, outcome, size)

    async def append(self, batch: Sequence[Sent]) -> list[Outcome]:
        """Append a batch and return what became of each event."""
        deliveries = [self.delivery(sent) for sent in batch]
        await self.writer.append(deliveries)
        return [await asyncio.wait_for(d.outcome, TOLD_S) for d in deliveries if d.outcome is not None]

    @asynccontextmanager
    async def folding(self) -> AsyncIterator[None]:
        """Run the projector for as long as the context lasts."""
        projecting = asyncio.create_task(self.projector.run())
        try:
            yield
        finally:
            self.projector.stop()
            self.tail.reach(self.tail.head + 1)  # it need not wait for the next look at the log
            await projecting

    async def folded(self, names: Sequence[str] = tuple(PROJECTIONS)) -> dict[str, str]:
        """Wait until the projections have the whole log; return the endings of their tables' names."""
        async with self.lines[0].use("reading the head") as connection:
            head = await connection.fetchval("select position from log_head")
        return await self.projector.wait_for(names, head, FOLDED_S)

    def held(self, name: str) -> Standing:
        """The version of a projection that this process owns."""
        standing = self.projector.standing(name)
        assert standing is not None, f"{name} is not held"
        return standing

    async def close(self) -> None:
        """Close the connections."""
        for line in self.lines:
            await line.close()


@asynccontextmanager
async def pipeline(database: Database, **options: Any) -> AsyncIterator[Pipeline]:
    """A pipeline that is closed at the end."""
    made = Pipeline(database, **options)
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def connected(database: Database, *, service: bool = False) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the test's own, as the owner unless the service role is asked for."""
    connection = await database.connect(service=service)
    try:
        yield connection
    finally:
        await connection.close()


async def write(database: Database, *batches: Sequence[Sent]) -> None:
    """Append batches to the log of a database and decide them; fold nothing."""
    async with pipeline(database) as p:
        for batch in batches:
            await p.append(batch)


async def fold(database: Database) -> None:
    """Fold what the log has and its projections have not."""
    async with pipeline(database) as p, p.folding():
        await p.folded()


async def compact(p: Pipeline, run_id: str) -> None:
    """Compact what a pipeline folded of a run, as if the run had ended; there must be something to merge."""
    line = Line(p.database, durable=False)
    compactor = Compactor(line, p.owner, lambda: p.held(metric_blocks.METRIC_BLOCKS.name), lambda: 0.0)
    await compactor.compact(run_id, p.held(metric_blocks.METRIC_BLOCKS.name), idle=True)
    assert compactor.merges
    await line.close()


async def live_versions(connection: asyncpg.Connection) -> dict[str, int]:
    """The version of each projection that is read."""
    return dict(await connection.fetch("select name, version from projections where state = 'live'"))


class Tables:
    """What the live tables of a database hold, read over one connection of the owner's."""

    def __init__(self, connection: asyncpg.Connection, versions: dict[str, int]) -> None:
        self.connection = connection
        self.versions = versions
        self.suffixes = {name: f"_v{version}" for name, version in versions.items()}

    async def hashes(self) -> dict[str, str]:
        """The content hash of each projection."""
        return {name: await content_hash(self.connection, name, self.versions[name]) for name in PROJECTIONS}

    async def decisions(self) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of the decisions' tables."""
        suffix = self.suffixes[decision_tables.NAME]
        return {
            table: [tuple(row) for row in await self.connection.fetch(f"select * from {table}{suffix} order by 1")]
            for table in decision_tables.TABLES
        }

    async def verdicts(self) -> dict[int, tuple[str, str | None, int | None]]:
        """(verdict, code, result) of each event of the log, by position."""
        rows = await self.connection.fetch(
            "select l.position, coalesce(d.verdict, 'accepted'), d.code, d.result "
            f"from event_log l left join decisions{self.suffixes[decision_tables.NAME]} d using (position) order by 1"
        )
        return {row[0]: (row[1], row[2], row[3]) for row in rows}

    async def log(self) -> list[tuple[UUID, str, str]]:
        """(event id, stream, type) of each event of the log, in order."""
        rows = await self.connection.fetch("select event_id, stream, type from event_log order by position")
        return [tuple(row) for row in rows]

    async def run(self, run_id: str) -> dict[str, Any] | None:
        """A run as runs/get answers it."""
        run: str | None = await self.connection.fetchval(reads.run_query(self.suffixes), run_id)
        return None if run is None else json.loads(run)

    async def experiment(self, experiment_id: int) -> dict[str, Any] | None:
        """An experiment as experiments/get reads it."""
        row = await self.connection.fetchrow(reads.experiment_query(self.suffixes), experiment_id)
        return None if row is None else dict(row)

    async def summaries(self, experiment_id: int) -> list[tuple[str, str, str | None]]:
        """(name, digest, context) of an experiment's datasets as experiments/search-datasets reads them."""
        query = inputs.dataset_summaries_query(self.suffixes[inputs.INPUTS.name])
        rows = await self.connection.fetch(query, [experiment_id], 1000)
        return [(row["name"], row["digest"], row["context"]) for row in rows]

    async def points(self, run_id: str, key: str) -> list[tuple[int, int, float]]:
        """(timestamp, step, value) of a metric's points as metrics/get-history reads them."""
        query = metric_blocks.history_query(self.suffixes[metric_blocks.METRIC_BLOCKS.name])
        rows = await self.connection.fetch(query, run_id, key, -(2**63), 2**62, -(2**63), 2**63 - 1)
        found = history([decode(row["data"]) for row in rows], key)
        return list(zip(found.timestamps.tolist(), found.steps.tolist(), found.values.tolist(), strict=True))


def pairs(run: dict[str, Any], name: str) -> dict[str, str]:
    """The params or tags of a run as runs/get answers it."""
    return {pair["key"]: pair["value"] for pair in run["data"].get(name, ())}


@asynccontextmanager
async def tables(database: Database) -> AsyncIterator[Tables]:
    """The live tables of a database, as the catalogue has them now."""
    async with connected(database) as connection:
        yield Tables(connection, await live_versions(connection))


async def eventually(what: str, condition: Any, timeout_s: float = 30.0) -> Any:
    """Poll until ``condition()`` gives something true, and return it."""
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                if found := await condition():
                    return found
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {timeout_s:g} s: {what}") from None
