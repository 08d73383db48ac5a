"""The projector: how long reads wait, who owns the projections, and what it does when the ground moves."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest import mock

import pytest

from runstream_projections.catalogue import PROJECTIONS
from runstream_schemas.errors import CheckpointMoved, Unavailable
from runstream_schemas.events import ExperimentEnsured, RunCreated, RunLogged
from runstream_schemas.ids import EXPERIMENTS, run_stream
from runstream_services import log_tail
from runstream_services.adapters import postgres_projections
from runstream_services.adapters.postgres import Database, Line
from runstream_services.log_tail import LogTail
from runstream_services.ports import Recorded
from runstream_services.projector.core import Coalescing
from runstream_services.projector.service import Projector
from tests.databases import reused_database
from tests.laws.histories import of_points
from tests.laws.model import Model
from tests.laws.test_folding_laws import check_is_model
from tests.pipeline import connected, eventually, fold, pipeline, tables, write
from tests.sent import Sent, event_id

database = reused_database

ENSURED = Sent(event_id(1), EXPERIMENTS, ExperimentEnsured(name="a", created_at=1))
CREATED = Sent(event_id(2), run_stream("r"), RunCreated(name="n", start_time=1, ensured_by=ENSURED.id))
NAMES = list(PROJECTIONS)


def logged(at: int) -> Sent:
    metrics = of_points([(("loss", None, (None, None)), at, at, float(at))])
    return Sent(event_id(at), run_stream("r"), RunLogged(metrics=metrics, params={f"p{at}": "1"}, tags={"t": str(at)}))


HISTORY = [ENSURED, CREATED, *(logged(at) for at in range(10, 30))]


async def check(database: Database, history: list[Sent]) -> None:
    async with tables(database) as found:
        await check_is_model(found, Model().log(history))


async def test_a_read_waits_for_the_projections_that_it_uses(database: Database) -> None:
    async with pipeline(database) as p, p.folding():
        await p.append(HISTORY)
        suffixes = await p.projector.wait_for(["latest_metrics", "runs"], len(HISTORY), 20)
        assert suffixes == {"latest_metrics": "_v1", "runs": "_v1"}
        standing = p.projector.standing("runs")
        assert standing is not None
        assert standing.position >= len(HISTORY)


async def test_past_its_deadline_a_read_names_what_is_behind(database: Database) -> None:
    async with pipeline(database) as p, p.folding():
        await p.append(HISTORY)
        await p.folded()
        with pytest.raises(Unavailable, match=r"runs did not reach position 1000 within 0\.01 s"):
            await p.projector.wait_for(["runs"], 1_000, 0.01)


async def test_changes_are_gathered_until_somebody_reads(database: Database) -> None:
    """Twenty appends make one change of the tables while nobody looks; who looks does not wait for more."""
    tail_rows: list[int] = []
    async with pipeline(database, coalescing=Coalescing(least_s=3_600.0, most_s=3_600.0)) as p, p.folding():
        p.on_tail_row = lambda run_id, points: tail_rows.append(points)
        for event in HISTORY:
            await p.append([event])
        await asyncio.sleep(0.05)
        standing = p.projector.standing("runs")
        assert standing is None or standing.position < len(HISTORY)
        async with asyncio.timeout(20):
            await p.folded()
        assert tail_rows == [20]
    await check(database, HISTORY)


async def test_who_sees_the_head_before_the_projector_does_need_not_wait_longer(database: Database) -> None:
    """The answer to an append takes a moment longer than a read's look at the head, in the middle of a change."""
    held: list[list[Recorded]] = []
    readers: list[asyncio.Task[dict[str, str]]] = []
    change = Projector._change
    async with pipeline(database, coalescing=Coalescing(least_s=3_600.0, most_s=3_600.0)) as p, p.folding():

        async def and_somebody_reads(*arguments: Any) -> None:
            await change(*arguments)
            if not readers:
                with mock.patch.object(p.tail, "extend", held.append):
                    await p.append([HISTORY[-1]])
                readers.append(asyncio.create_task(p.projector.wait_for(NAMES, len(HISTORY), 10)))
                await asyncio.sleep(0)
                asyncio.get_running_loop().call_later(0.01, p.tail.extend, held[0])

        with mock.patch.object(Projector, "_change", and_somebody_reads):
            await p.append(HISTORY[:-1])
            await p.projector.wait_for(NAMES, len(HISTORY) - 1, 20)

            async def somebody_read() -> bool:
                return bool(readers)

            await eventually("somebody reads", somebody_read)
            await readers[0]
    await check(database, HISTORY)


@pytest.mark.parametrize("error", [MemoryError(), ValueError("a mistake of ours")], ids=repr)
async def test_an_error_that_nobody_expected_parks_nothing_and_ends_nothing(
    database: Database, error: Exception
) -> None:
    method = "_fold" if isinstance(error, MemoryError) else "_next"
    whole, failures = getattr(Projector, method), iter([error])

    def failing_once(*arguments: Any) -> Any:
        if (failure := next(failures, None)) is not None:
            raise failure
        return whole(*arguments)

    with mock.patch.object(Projector, method, failing_once):
        async with pipeline(database) as p, p.folding():
            await p.append(HISTORY)
            await p.folded()
    assert next(failures, None) is None
    async with connected(database) as connection:
        assert await connection.fetchval("select count(*) from parked_events") == 0
    await check(database, HISTORY)


async def test_what_fills_the_window_on_the_log_is_folded_though_nobody_reads(database: Database) -> None:
    async with pipeline(database, coalescing=Coalescing(least_s=3_600.0, most_s=3_600.0)) as p, p.folding():
        with mock.patch.object(log_tail, "CHANGE_EVENTS", 5):
            await p.append(HISTORY[:10])

            async def folded() -> bool:
                standing = p.projector.standing("runs")
                return standing is not None and standing.position == 10

            await eventually("what was appended is folded", folded)


async def test_what_another_process_logged_is_folded(database: Database) -> None:
    async with pipeline(database) as p, p.folding():
        await p.append(HISTORY[:5])
        await p.folded()
        await write(database, HISTORY[5:])
        await p.folded()
    await check(database, HISTORY)


async def test_a_second_projector_stands_by_until_the_first_gives_up(database: Database) -> None:
    await write(database, HISTORY[:10])
    lines = [Line(database, durable=False) for _ in range(2)]
    owners = ["00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000b"]
    first, second = (
        Projector(line, LogTail(), owner, by_force=False, coalescing=Coalescing(0.0, 0.0))
        for line, owner in zip(lines, owners, strict=True)
    )
    running = asyncio.create_task(first.run())
    await first.wait_for(NAMES, 10, 20)
    waiting = asyncio.create_task(second.run())
    with pytest.raises(Unavailable):
        await second.wait_for(NAMES, 10, 0.2)
    assert second.standing("runs") is None
    first.stop()
    await running
    async with connected(database, service=True) as connection:
        await postgres_projections.release(connection, owners[0])
    await write(database, HISTORY[10:])
    await second.wait_for(NAMES, len(HISTORY), 20)
    second.stop()
    await waiting
    for line in lines:
        await line.close()
    await check(database, HISTORY)


async def test_an_owner_that_was_away_too_long_loses_its_lease_and_changes_nothing(database: Database) -> None:
    """It wakes up in the middle of its work: its next change fails, and only the new owner's count."""
    async with pipeline(database) as slow, pipeline(database) as quick:
        async with slow.folding():
            await slow.append(HISTORY[:5])
            await slow.folded()
            lost = slow.projector.standing("runs")
        async with quick.folding():
            await quick.append(HISTORY[5:])
            await quick.folded()
            now = quick.projector.standing("runs")
        async with connected(database, service=True) as connection:
            assert lost is not None
            assert now is not None
            for owner, standing in (
                (slow.owner, lost),
                (slow.owner, now),
                (quick.owner, now._replace(position=now.position - 1)),
                (quick.owner, now._replace(epoch=now.epoch - 1)),
                (quick.owner, now._replace(version=2)),
            ):
                with pytest.raises(CheckpointMoved, match="another owner has"):
                    await postgres_projections.move(connection, owner, [standing], now.position + 1, [])
    await check(database, HISTORY)


async def test_projections_that_another_process_holds_in_part_are_not_taken_at_all(database: Database) -> None:
    async with connected(database, service=True) as connection:
        first, second = (f"00000000-0000-0000-0000-00000000000{letter}" for letter in "ab")
        await postgres_projections.take(connection, ["runs"], first, by_force=False)
        with pytest.raises(CheckpointMoved, match="another process holds runs"):
            await postgres_projections.take(connection, NAMES, second, by_force=False)
        owners = await connection.fetch("select name from projections where owner = $1", second)
        assert owners == []
        assert len(await postgres_projections.take(connection, NAMES, first, by_force=False)) == len(NAMES)


async def test_a_projector_that_loses_its_lease_tells_no_one_that_it_holds_anything(database: Database) -> None:
    line = Line(database, durable=False)
    owners = ["00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000b"]
    projector = Projector(line, LogTail(), owners[0], by_force=False, coalescing=Coalescing(0.0, 0.0))
    running = asyncio.create_task(projector.run())
    await projector.wait_for(NAMES, 0, 20)
    async with connected(database, service=True) as connection:
        await postgres_projections.take(connection, NAMES, owners[1], by_force=True)

    async def holds_nothing() -> bool:
        return projector.standing("metric_blocks") is None

    await eventually("it noticed", holds_nothing)
    projector.stop()
    await running
    await line.close()


async def test_tables_that_a_crash_threw_back_are_folded_again_before_they_are_read(database: Database) -> None:
    """Projections commit without fsync: PostgreSQL may come back with less than a reader was told of."""
    async with pipeline(database) as p, p.folding():
        await p.append(HISTORY)
        await p.folded()
        async with connected(database) as crash, crash.transaction():
            for projection in PROJECTIONS.values():
                for table in projection.tables:
                    await crash.execute(f"delete from {table}_v1")
            await crash.execute("update projections set position = 0 where name <> 'decisions'")
        async with connected(database, service=True) as connection:
            with pytest.raises(Unavailable, match="crash"):
                await p.projector.confirm(connection)

            async def confirmed() -> bool:
                try:
                    await p.projector.confirm(connection)
                except Unavailable:
                    return False
                return True

            await eventually("the tables are folded again", confirmed)
        await p.folded()
    await check(database, HISTORY)


@pytest.mark.parametrize("size", [1, 2, 7])
async def test_projections_that_stand_apart_are_brought_together(database: Database, size: int) -> None:
    await write(database, HISTORY)
    async with pipeline(database) as p:
        from runstream_services.projector import service

        with mock.patch.object(service, "CHANGE_EVENTS", 6):
            async with p.folding():
                await p.projector.wait_for(["runs"], 6, 20)
        async with connected(database) as connection:
            for name in ("runs", "latest_metrics"):
                for table in PROJECTIONS[name].tables:
                    await connection.execute(f"delete from {table}_v1")
                await connection.execute("update projections set position = 0 where name = $1", name)
        with mock.patch.object(service, "CHANGE_EVENTS", size):
            await fold(database)
    await check(database, HISTORY)
