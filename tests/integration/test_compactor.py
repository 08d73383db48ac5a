"""The compactor as it runs beside the projector: what it finds, how far it gets, and what does not stop it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from unittest import mock
from uuid import uuid4

import asyncpg
import numpy as np
import pytest

from runstream_projections import compaction, metric_blocks
from runstream_projections.chunk import Chunk, Series
from runstream_projections.compaction import TAIL_ROWS, merge
from runstream_schemas.errors import CheckpointMoved
from runstream_schemas.events import ExperimentEnsured, RunCreated, RunLogged
from runstream_schemas.ids import EXPERIMENTS, run_stream
from runstream_services.adapters import postgres_projections
from runstream_services.adapters.postgres import Database, Line
from runstream_services.projector import compactor as compactor_module
from runstream_services.projector.compactor import IDLE_S, Compactor
from runstream_services.projector.rebuild import Rebuild
from tests.databases import reused_database
from tests.laws.histories import of_points
from tests.pipeline import Pipeline, Tables, eventually, pipeline, tables
from tests.sent import Sent, event_id

database = reused_database

ENSURED = Sent(event_id(1), EXPERIMENTS, ExperimentEnsured(name="a", created_at=1))


class Seconds:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def created(at: int, run: str) -> Sent:
    return Sent(event_id(at), run_stream(run), RunCreated(name=run, start_time=1, ensured_by=ENSURED.id))


def logged(at: int, run: str = "r") -> Sent:
    metrics = of_points([((key, None, (None, None)), at, at, float(at)) for key in ("loss", "acc")])
    return Sent(event_id(10_000 * ord(run) + at), run_stream(run), RunLogged(metrics=metrics))


@asynccontextmanager
async def compacting(p: Pipeline, clock: Seconds) -> AsyncIterator[Compactor]:
    line = Line(p.database, durable=False)
    compactor = Compactor(line, p.owner, lambda: p.projector.standing("metric_blocks"), clock)
    with mock.patch.object(compactor_module, "LOOK_S", 0.005):
        running = asyncio.create_task(compactor.run())
        try:
            yield compactor
        finally:
            compactor.stop()
            await asyncio.wait_for(running, 20)
            await line.close()


async def rows(found: Tables, run: str = "r") -> tuple[int, int]:
    """(tail rows, blocks) of a run."""
    suffix = found.suffixes["metric_blocks"]
    row = await found.connection.fetchrow(
        f"select (select count(*) from metric_tail{suffix} where run_id = $1), "
        f"(select count(*) from metric_blocks{suffix} where run_id = $1)",
        run,
    )
    return row[0], row[1]


async def add_tail_rows(p: Pipeline, first: int, number: int, run: str = "r") -> None:
    """One row for each event: each is folded before the next one comes."""
    for at in range(first, first + number):
        await p.append([logged(at, run)])
        await p.folded(["metric_blocks"])


async def check_points(found: Tables, number: int, run: str = "r") -> None:
    for key in ("loss", "acc"):
        assert await found.points(run, key) == [(at, at, float(at)) for at in range(number)]


async def test_a_tail_is_merged_when_it_is_long_and_emptied_when_the_run_is_silent(database: Database) -> None:
    clock = Seconds()
    async with pipeline(database) as p, p.folding(), compacting(p, clock) as compactor, tables(database) as found:
        p.on_tail_row = compactor.added
        await p.append([ENSURED, created(2, "r")])
        await add_tail_rows(p, 0, TAIL_ROWS + 10)

        async def merged() -> bool:
            tail, blocks = await rows(found)
            return tail <= 10 + 1 and blocks == 1

        await eventually("the long tail is merged", merged)
        await check_points(found, TAIL_ROWS + 10)
        clock.now += IDLE_S + 1

        async def emptied() -> bool:
            # The block is over four times as large as what came after it: it is not rewritten for so little.
            return await rows(found) == (0, 2)

        await eventually("the tail of a silent run is empty", emptied)
        await check_points(found, TAIL_ROWS + 10)
        await add_tail_rows(p, TAIL_ROWS + 10, 1)
        await check_points(found, TAIL_ROWS + 11)
        assert compactor.merges >= 2


async def test_what_an_earlier_process_left_is_compacted(database: Database) -> None:
    async with pipeline(database) as p, p.folding():
        await p.append([ENSURED, created(2, "r"), created(3, "s")])
        await add_tail_rows(p, 0, 5)
        await add_tail_rows(p, 0, 3, "s")
    clock = Seconds()
    async with pipeline(database) as p, p.folding(), compacting(p, clock), tables(database) as found:
        await p.folded()

        async def emptied() -> bool:
            clock.now += IDLE_S + 1
            return await rows(found) == await rows(found, "s") == (0, 1)

        await eventually("both runs are compacted", emptied)
        await check_points(found, 5)
        await check_points(found, 3, "s")


async def test_of_more_runs_than_are_remembered_all_are_compacted(database: Database) -> None:
    clock = Seconds()
    with mock.patch.object(compactor_module, "MAX_TAILS", 3):
        async with pipeline(database) as p, p.folding(), compacting(p, clock) as compactor, tables(database) as found:
            p.on_tail_row = compactor.added
            runs = "abcdefghij"
            await p.append([ENSURED, *(created(at, run) for at, run in enumerate(runs, 2))])
            await p.append([logged(0, run) for run in runs])
            await p.folded()
            assert len(compactor._tails) <= 3

            async def emptied() -> bool:
                clock.now += IDLE_S + 1
                return {await rows(found, run) for run in runs} == {(0, 1)}

            await eventually("every tail is merged", emptied)
            assert len(compactor._tails) <= 3


async def test_a_rebuilt_version_is_compacted_too(database: Database) -> None:
    clock = Seconds()
    async with pipeline(database) as p, p.folding(), compacting(p, clock):
        await p.append([ENSURED, created(2, "r")])
        await add_tail_rows(p, 0, 5)
        assert await Rebuild(database, "metric_blocks", str(uuid4()), lambda step: None).run() == 2
        await p.append([logged(5)])
        assert (await p.folded())["metric_blocks"] == "_v2"
        async with tables(database) as found:

            async def emptied() -> bool:
                clock.now += IDLE_S + 1
                return await rows(found) == (0, 1)

            await eventually("the new version is compacted", emptied)
            await check_points(found, 6)


@contextmanager
def pausing_before_the_commit() -> Iterator[tuple[asyncio.Event, asyncio.Event]]:
    """The first merge stops with its rows in hand: (it is there, it may go on)."""
    there, go_on = asyncio.Event(), asyncio.Event()
    in_a_thread = asyncio.to_thread

    async def paused(*arguments: Any) -> Any:
        made = await in_a_thread(*arguments)
        if not there.is_set():
            there.set()
            await go_on.wait()
        return made

    with mock.patch.object(compactor_module.asyncio, "to_thread", paused):
        yield there, go_on


async def put_groups(connection: asyncpg.Connection, *groups: int) -> None:
    """Store groups of so many points, as merges at level 1 leave them."""
    last = 0
    for points in groups:
        steps = np.arange(last, last + points)
        chunk = Chunk((Series("loss"),), np.array([points]), steps, steps, steps.astype(float))
        statement = metric_blocks.replacement("_v1", "r", 1 + last, 1, merge([chunk]))
        await connection.execute(statement.sql, *statement.args)
        last += points


@pytest.mark.parametrize("by", ["another owner", "the same owner"])
async def test_a_merge_that_was_paused_deletes_nothing_of_what_was_merged_meanwhile(
    database: Database, by: str
) -> None:
    """As many rows are there under the same numbers as it has read, and they hold more points."""
    lines = [Line(database, durable=False) for _ in range(2)]
    async with tables(database) as found:
        connection = found.connection
        await put_groups(connection, 1_500, 1_500, 3_000)
        owners = [str(uuid4()), str(uuid4())] if by == "another owner" else [str(uuid4())] * 2
        paused, quicker = (
            Compactor(line, owner, lambda: None, Seconds()) for line, owner in zip(lines, owners, strict=True)
        )
        [standing] = await postgres_projections.take(connection, ["metric_blocks"], owners[0], by_force=True)
        with pausing_before_the_commit() as (there, go_on):
            merging = asyncio.create_task(paused.compact("r", standing, idle=True))
            await asyncio.wait_for(there.wait(), 20)
            if by == "another owner":
                [standing] = await postgres_projections.take(connection, ["metric_blocks"], owners[1], by_force=True)
            with mock.patch.object(compaction, "FANOUT", 3):
                await quicker.compact("r", standing, idle=False)
            assert await rows(found) == (0, 2), "two of 6,000 points, as the two that are in the other's hand"
            go_on.set()
            with pytest.raises(CheckpointMoved):
                await asyncio.wait_for(merging, 20)
        assert await found.points("r", "loss") == [(at, at, float(at)) for at in range(6_000)]
    for line in lines:
        await line.close()


async def test_a_server_that_lost_its_lease_compacts_nothing(database: Database) -> None:
    async with tables(database) as found:
        await put_groups(found.connection, 1_500, 1_500)
        [held] = await postgres_projections.take(found.connection, ["metric_blocks"], str(uuid4()), by_force=True)
        line = Line(database, durable=False)
        for owner, standing in ((str(uuid4()), held), (str(uuid4()), held._replace(epoch=held.epoch - 1))):
            with pytest.raises(CheckpointMoved, match="another owner has metric_blocks_v1"):
                await Compactor(line, owner, lambda: None, Seconds()).compact("r", standing, idle=True)
        assert await rows(found) == (0, 2)
        await line.close()


@pytest.mark.parametrize("after_s", [0.0, 0.002, 0.004, 0.006, 0.01, 0.02])
async def test_a_killed_merge_changes_nothing(database: Database, after_s: float) -> None:
    async with pipeline(database) as p, p.folding():
        await p.append([ENSURED, created(2, "r")])
        await add_tail_rows(p, 0, 8)
        line = Line(database, durable=False)
        compactor = Compactor(line, p.owner, lambda: p.projector.standing("metric_blocks"), Seconds())
        merging = asyncio.create_task(compactor.compact("r", p.held("metric_blocks"), idle=True))
        await asyncio.sleep(after_s)
        merging.cancel()
        await asyncio.gather(merging, return_exceptions=True)
        await line.close()
        async with tables(database) as found:
            assert await rows(found) in ((8, 0), (0, 1))
            await check_points(found, 8)


async def test_a_failure_does_not_end_it(database: Database) -> None:
    clock = Seconds()
    async with pipeline(database) as p, p.folding(), tables(database) as found:
        await p.append([ENSURED, created(2, "r")])
        await add_tail_rows(p, 0, 5)
        await found.connection.execute("revoke insert on metric_blocks_v1 from runstream_service")
        async with compacting(p, clock) as compactor:

            async def failed() -> bool:
                clock.now += IDLE_S + 1
                return bool(
                    await found.connection.fetchval(
                        "select xact_rollback > 1 from pg_stat_database where datname = current_database()"
                    )
                )

            await eventually("a merge failed", failed)
            assert compactor.merges == 0
            await check_points(found, 5)
            await found.connection.execute("grant insert on metric_blocks_v1 to runstream_service")

            async def emptied() -> bool:
                clock.now += IDLE_S + 1
                return await rows(found) == (0, 1)

            await eventually("it is merged after all", emptied)
        await check_points(found, 5)


async def test_a_moment_without_memory_does_not_end_it(database: Database) -> None:
    clock, failures = Seconds(), iter([MemoryError()])
    whole = compactor_module._merged

    def failing_once(*arguments: Any) -> Any:
        if (failure := next(failures, None)) is not None:
            raise failure
        return whole(*arguments)

    async with pipeline(database) as p, p.folding(), tables(database) as found:
        await p.append([ENSURED, created(2, "r")])
        await add_tail_rows(p, 0, 5)
        with mock.patch.object(compactor_module, "_merged", failing_once):
            async with compacting(p, clock):

                async def emptied() -> bool:
                    clock.now += IDLE_S + 1
                    return await rows(found) == (0, 1)

                await eventually("it is merged after all", emptied)
        await check_points(found, 5)


async def test_a_damaged_row_keeps_only_its_own_run_from_being_compacted(database: Database) -> None:
    clock = Seconds()
    async with pipeline(database) as p, p.folding(), tables(database) as found:
        await p.append([ENSURED, created(2, "r"), created(3, "s")])
        await add_tail_rows(p, 0, 3)
        await add_tail_rows(p, 0, 3, "s")
        await found.connection.execute("update metric_tail_v1 set data = 'damaged' where run_id = 'r'")
        async with compacting(p, clock):

            async def emptied() -> bool:
                clock.now += IDLE_S + 1
                return await rows(found, "s") == (0, 1)

            await eventually("the other run is compacted", emptied)
        assert await rows(found) == (3, 0)
        await check_points(found, 3, "s")


async def test_it_ends_at_once_when_told_to(database: Database) -> None:
    async with pipeline(database) as p:
        compactor = Compactor(p.lines[0], p.owner, lambda: None, Seconds())
        running = asyncio.create_task(compactor.run())
        await asyncio.sleep(0)
        compactor.stop()
        await asyncio.wait_for(running, 20)
