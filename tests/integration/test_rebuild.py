"""Rebuilding and verifying projections: beside the live ones, resumed after a kill, strict about what it meets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock
from uuid import uuid4

import asyncpg
import msgspec
import pytest
from structlog.testing import capture_logs

from runstream_projections.catalogue import PROJECTIONS
from runstream_projections.projection import Row
from runstream_schemas.errors import CheckpointMoved, StartupError, UnknownEventType
from runstream_schemas.events import Event, ExperimentEnsured, ExperimentTagSet, RunCreated, RunLogged
from runstream_schemas.ids import EXPERIMENTS, run_stream
from runstream_services.adapters import postgres_log, postgres_projections
from runstream_services.adapters.postgres import Database, Pool
from runstream_services.gateway.service import Gateway
from runstream_services.projector import rebuild, service
from runstream_services.projector.rebuild import Progress, Rebuild, drop_retired
from runstream_services.projector.redecide import redecide
from runstream_services.projector.verify import verify_projection
from tests.databases import reused_database
from tests.laws.histories import of_points
from tests.laws.model import Model
from tests.laws.test_folding_laws import check_is_model
from tests.pipeline import Pipeline, connected, eventually, fold, pairs, pipeline, tables, write
from tests.sent import Sent, event_id

database = reused_database

ENSURED = Sent(event_id(1), EXPERIMENTS, ExperimentEnsured(name="a", created_at=1))
RUNS = [f"r{at}" for at in range(3)]


def history(events: int) -> list[Sent]:
    """An experiment with a tag, three runs, and so many log calls."""
    found: list[tuple[str, Event]] = [(EXPERIMENTS, ExperimentTagSet(experiment_id=0, key="k", value="v"))]
    found += [(run_stream(run), RunCreated(name=run, start_time=1, ensured_by=ENSURED.id)) for run in RUNS]
    for at in range(events):
        metrics = of_points([(("loss", None, (None, None)), at, at, float(at))])
        found.append(
            (run_stream(RUNS[at % 3]), RunLogged(metrics=metrics, params={f"p{at}": "1"}, tags={"t": str(at)}))
        )
    return [ENSURED, *(Sent(event_id(at), stream, event) for at, (stream, event) in enumerate(found, 100))]


@contextmanager
def steps_of(events: int) -> Iterator[None]:
    with mock.patch.object(service, "CHANGE_EVENTS", events):
        yield


def a_rebuild(database: Database, name: str, report: list[Progress] | None = None) -> Rebuild:
    return Rebuild(database, name, str(uuid4()), (report if report is not None else []).append)


async def states(database: Database, name: str) -> dict[int, str]:
    async with connected(database) as connection:
        rows = await connection.fetch("select version, state from projections where name = $1", name)
        return {row["version"]: row["state"] for row in rows}


async def until_read(p: Pipeline, name: str, version: int) -> None:
    async def is_read() -> bool:
        standing = p.projector.standing(name)
        return standing is not None and standing.version == version

    await eventually(f"version {version} of {name} is read", is_read)


@pytest.mark.parametrize("name", list(PROJECTIONS))
async def test_a_rebuilt_version_takes_the_place_of_the_live_one(database: Database, name: str) -> None:
    events = history(30)
    async with pipeline(database) as p, p.folding():
        await p.append(events[:-3])
        await p.folded()
        progress: list[Progress] = []
        with steps_of(10):
            assert await a_rebuild(database, name, progress).run() == 2
        assert [(step.position, step.head) for step in progress] == [(10, 32), (20, 32), (30, 32), (32, 32)]

        await until_read(p, name, 2)  # it is idle, and looks all the same
        await p.append(events[-3:])
        assert (await p.folded())[name] == "_v2"
    assert await states(database, name) == {1: "retired", 2: "live"}
    async with tables(database) as found:
        await check_is_model(found, Model().log(events))
        assert await drop_retired(found.connection) == [f"{name}_v1"]
        with pytest.raises(asyncpg.UndefinedTableError):
            await found.connection.fetch(f"select * from {PROJECTIONS[name].tables[0]}_v1")
        await check_is_model(found, Model().log(events))


@pytest.mark.parametrize("killed_at", [10, 20, 30])
async def test_a_killed_rebuild_goes_on_where_it_was(database: Database, killed_at: int) -> None:
    events = history(40)
    await write(database, events)
    await fold(database)
    reached = asyncio.Event()
    progress: list[Progress] = []

    def report(step: Progress) -> None:
        progress.append(step)
        if step.position == killed_at:
            reached.set()

    with steps_of(5):
        killed = asyncio.create_task(Rebuild(database, "runs", str(uuid4()), report).run())
        await reached.wait()
        killed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await killed
        assert await states(database, "runs") == {1: "live", 2: "building"}
        before = len(progress)
        assert await Rebuild(database, "runs", str(uuid4()), report).run() == 2
    positions = [step.position for step in progress]
    assert positions == sorted(set(positions)), "no step is taken twice"
    assert positions[before] > killed_at
    assert await states(database, "runs") == {1: "retired", 2: "live"}
    async with tables(database) as found:
        await check_is_model(found, Model().log(events))


async def test_of_two_rebuilds_at_once_the_later_goes_on_alone(database: Database) -> None:
    events = history(40)
    await write(database, events)
    await fold(database)
    begun = asyncio.Event()
    with steps_of(2):
        first = asyncio.create_task(Rebuild(database, "latest_metrics", str(uuid4()), lambda step: begun.set()).run())
        await begun.wait()
        assert await a_rebuild(database, "latest_metrics").run() == 2
        with pytest.raises(CheckpointMoved):
            await first
    async with tables(database) as found:
        await check_is_model(found, Model().log(events))


async def test_a_rebuild_catches_up_with_a_log_that_goes_on(database: Database) -> None:
    """The switch folds at most a few events itself, with the live version held still; else it is caught up again."""
    events = history(120)
    with steps_of(7), mock.patch.object(rebuild, "SWITCH_EVENTS", 0):
        async with pipeline(database) as p, p.folding():
            await p.append(events[:60])
            await p.folded()
            rebuilding = asyncio.create_task(a_rebuild(database, "metric_blocks").run())
            for event in events[60:]:
                await p.append([event])
            assert await asyncio.wait_for(rebuilding, 30) == 2
            await until_read(p, "metric_blocks", 2)
            await p.folded()
    async with tables(database) as found:
        await check_is_model(found, Model().log(events))


async def test_what_comes_between_the_last_step_and_the_switch_is_folded_by_the_switch(database: Database) -> None:
    events = history(30)
    async with pipeline(database) as p, p.folding():
        await p.append(events[:20])
        await p.folded()
        fill = Rebuild._fill

        async def filled_and_then_more(*arguments: Any) -> Any:
            standing = await fill(*arguments)
            await p.append(events[20:])
            await p.folded()
            return standing

        with mock.patch.object(Rebuild, "_fill", filled_and_then_more):
            assert await a_rebuild(database, "runs").run() == 2
        await until_read(p, "runs", 2)
    async with tables(database) as found:
        await check_is_model(found, Model().log(events))


async def test_reads_are_whole_while_a_version_is_switched(database: Database) -> None:
    events = history(60)
    async with pipeline(database) as p, p.folding():
        await p.append(events)
        await p.folded()
        rebuilding = asyncio.create_task(a_rebuild(database, "runs").run())
        reads = 0
        async with tables(database) as found:
            while not rebuilding.done() or reads < 3:
                suffixes = await p.projector.wait_for(["runs"], len(events), 20)
                count = await found.connection.fetchval(f"select count(*) from params{suffixes['runs']}")
                assert count == 60
                reads += 1
        await rebuilding


async def newer_event(database: Database) -> Sent:
    """Log what only a newer release knows, in the middle of what this one knows."""
    events = history(5)
    async with pipeline(database) as p:
        await p.append(events[:5])
        foreign = Sent(event_id(999), run_stream("r0"), RunLogged())
        delivery = p.delivery(foreign)
        delivery.envelope = msgspec.structs.replace(
            foreign.envelope, type="RunForked", payload=msgspec.Raw(b'{"x": 1}')
        )
        await p.writer.append([delivery])
        await p.append(events[5:])
    return foreign


async def test_an_unknown_event_is_passed_over_live_and_stops_a_rebuild(database: Database) -> None:
    await newer_event(database)
    postgres_log._say_left_out.cache_clear()
    with capture_logs() as said:
        await fold(database)
    assert [entry.get("type") for entry in said] == ["RunForked"]
    async with tables(database) as found:
        assert await found.connection.fetchval("select count(*) from parked_events") == 0
        run = await found.run("r0")
        assert run is not None
        assert pairs(run, "tags")["t"] == "3"
    with pytest.raises(UnknownEventType, match="position 6"):
        await a_rebuild(database, "runs").run()
    with pytest.raises(UnknownEventType, match="position 6"):
        await verify_projection(database, "runs", str(uuid4()), lambda step: None)
    assert await states(database, "runs") == {1: "live", 2: "building", 3: "checking"}
    async with connected(database) as connection:
        assert await drop_retired(connection) == ["runs_v2", "runs_v3"]
    assert await states(database, "runs") == {1: "live"}


#: Changes of each projection's tables that its users would see.
TAMPERED = [
    ("decisions", "update decision_runs_v1 set deleted = true where run_id = 'r1'"),
    ("experiments", "update experiments_v1 set name = 'b'"),
    ("runs", "update runs_v1 set status = 'FAILED' where run_id = 'r1'"),
    ("runs", "delete from params_v1 where key = 'p7'"),
    ("runs", "update tags_v1 set value = 'x' where run_id = 'r0' and key = 't'"),
    ("latest_metrics", "update latest_metrics_v1 set step = step + 1 where run_id = 'r2'"),
    ("metric_blocks", "delete from metric_tail_v1 where run_id = 'r0'"),
]


@pytest.mark.parametrize(("name", "change"), TAMPERED)
async def test_verifying_tells_the_tables_that_are_not_what_the_log_says(
    database: Database, name: str, change: str
) -> None:
    events = history(30)
    await write(database, events)
    await fold(database)
    async with connected(database) as connection:
        assert (await connection.execute(change)).split()[-1] != "0"
    for checked in dict(TAMPERED):
        verified = await verify_projection(database, checked, str(uuid4()), lambda step: None)
        assert verified.position == len(events)
        assert (verified.live == verified.rebuilt) == (checked != name), checked
    if name == "decisions":
        assert (await redecide(database, str(uuid4()), lambda step: None, accept=False)).switched
    else:
        assert await a_rebuild(database, name).run() == 2
    verified = await verify_projection(database, name, str(uuid4()), lambda step: None)
    assert verified.live == verified.rebuilt


async def test_a_switch_that_a_crash_of_postgresql_undid_is_noticed_before_anything_is_read(database: Database) -> None:
    """The version read before is read again; the new one lost rows. Nothing of it may be shown."""
    async with pipeline(database) as p, p.folding(), connected(database) as owner:
        await p.append(history(12))
        await p.folded()
        await a_rebuild(database, "runs").run()
        await until_read(p, "runs", 2)
        async with owner.transaction():
            await owner.execute("update projections set state = 'building' where name = 'runs' and version = 2")
            await owner.execute("update projections set state = 'live' where name = 'runs' and version = 1")
            await owner.execute("delete from params_v2")
        pool = Pool(database, 1, on_open=p.projector.confirm)
        gateway = Gateway(p.bus, pool, p.decider, p.projector, lambda: 0, bytes)
        rows = await gateway.fetch(("runs",), lambda suffixes: f"select count(*) from params{suffixes['runs']}")
        assert rows[0][0] == 12
        await pool.close()


async def test_content_is_read_run_by_run(database: Database) -> None:
    """However large a table is: no more than one run of it is in memory."""
    events = history(30)
    async with pipeline(database) as p, p.folding():
        for at in range(0, len(events), 5):
            await p.append(events[at : at + 5])
            await p.folded()
    seen: list[list[str]] = []
    whole = PROJECTIONS["metric_blocks"]

    def canonical(rows: Sequence[Row]) -> Row:
        assert whole.canonical is not None
        seen.append([row[0] for row in rows])
        return whole.canonical(rows)

    with mock.patch.dict(PROJECTIONS, {"metric_blocks": replace(whole, canonical=canonical)}):
        async with tables(database) as found:
            await found.hashes()
    assert [set(runs) for runs in seen] == [{"r0"}, {"r1"}, {"r2"}]
    assert min(map(len, seen)) > 1


async def test_a_killed_verification_leaves_nothing_that_is_not_dropped(database: Database) -> None:
    events = history(30)
    await write(database, events)
    await fold(database)
    begun = asyncio.Event()
    with steps_of(3):
        verifying = asyncio.create_task(verify_projection(database, "runs", str(uuid4()), lambda step: begun.set()))
        await begun.wait()
        verifying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await verifying
    assert await states(database, "runs") == {1: "live", 2: "checking"}
    async with connected(database) as connection:
        assert await drop_retired(connection) == ["runs_v2"]


async def test_a_rebuild_that_was_given_up_while_it_switches_leaves_the_live_version(database: Database) -> None:
    await write(database, history(6))
    await fold(database)
    switch = postgres_projections.switch

    async def given_up(connection: asyncpg.Connection, owner: str, standing: Any) -> None:
        async with connected(database) as other:
            await other.execute("update projections set state = 'retired' where state = 'building'")
        await switch(connection, owner, standing)

    with mock.patch.object(postgres_projections, "switch", given_up), pytest.raises(CheckpointMoved, match="runs_v2"):
        await a_rebuild(database, "runs").run()
    assert await states(database, "runs") == {1: "live", 2: "retired"}


async def test_what_is_being_filled_is_not_dropped(database: Database) -> None:
    await write(database, history(30))
    await fold(database)
    begun: list[Rebuild] = []
    go_on, fill = asyncio.Event(), Rebuild._fill

    async def and_wait(rebuilding: Rebuild, *arguments: Any) -> Any:
        begun.append(rebuilding)
        await go_on.wait()
        return await fill(rebuilding, *arguments)

    async def both_begun() -> bool:
        return len(begun) == 2

    with mock.patch.object(Rebuild, "_fill", and_wait), mock.patch.object(postgres_projections, "LEASE_S", 3):
        filling = asyncio.create_task(a_rebuild(database, "latest_metrics").run())
        verifying = asyncio.create_task(verify_projection(database, "runs", str(uuid4()), lambda step: None))
        await eventually("both have begun", both_begun)
        async with connected(database) as connection:

            async def renewed() -> bool:
                now = dict(await connection.fetch(leases))
                return all(until > first[name] for name, until in now.items())

            leases = "select name, lease_until from projections where state in ('building', 'checking')"
            first = dict(await connection.fetch(leases))
            await eventually("the leases are renewed, though no step ends", renewed)
            assert await drop_retired(connection) == []
            go_on.set()
            assert await filling == 2
            assert (await verifying).live == (await verifying).rebuilt
            assert await drop_retired(connection) == ["latest_metrics_v1"]


async def test_a_release_with_another_revision_asks_for_a_rebuild(database: Database) -> None:
    async with connected(database) as connection:
        await connection.execute("update projections set revision = 0 where name = 'runs'")
        with pytest.raises(StartupError, match="runstream rebuild runs"):
            await postgres_projections.ensure_live(connection)
        await a_rebuild(database, "runs").run()
        await postgres_projections.ensure_live(connection)
