"""Deciding the log again: what changes is listed, taken only when asked for, and mixed with nothing decided before."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest import mock
from uuid import uuid4

import pytest

from runstream_projections.catalogue import PROJECTIONS
from runstream_schemas.errors import CheckpointMoved, RequestError
from runstream_schemas.events import RunCreated, RunLogged
from runstream_schemas.ids import run_stream
from runstream_services.adapters.postgres import Database
from runstream_services.embedded import Node
from runstream_services.gateway.sender import ANYONE
from runstream_services.projector import redecide as redecide_module
from runstream_services.projector.decider import Decider
from runstream_services.projector.rebuild import Rebuild, drop_retired
from runstream_services.projector.redecide import redecide
from tests.databases import reused_database
from tests.integration.test_rebuild import ENSURED, a_rebuild, history, states, steps_of
from tests.laws.model import Model
from tests.laws.test_folding_laws import check_is_model
from tests.pipeline import connected, fold, pipeline, tables, write
from tests.sent import Sent, event_id

database = reused_database


async def refuse(database: Database, position: int) -> None:
    """Store a decision that the rules do not make."""
    async with connected(database) as connection:
        await connection.execute(
            "insert into decisions_v1 (position, verdict, decided_at, code, message) "
            "values ($1, 'rejected', $1, 'BAD_REQUEST', 'by another rule')",
            position,
        )


async def test_a_decision_is_changed_only_when_that_is_asked_for(database: Database) -> None:
    """An event that the stored decisions refuse, and the rules accept."""
    events = history(6)
    await write(database, events)
    await refuse(database, 8)
    await fold(database)
    for accept in (False, True):
        done = await redecide(database, str(uuid4()), lambda step: None, accept=accept)
        assert done == (len(events), 1, [(8, "rejected", "accepted")], accept)
        assert await states(database, "decisions") == ({1: "live"} if not accept else {1: "retired", 2: "live"})
    async with pipeline(database) as p:
        outcomes = await p.append([Sent(event_id(5_000), run_stream("r0"), RunLogged(params={"p0": "2"}))])
        assert outcomes[0].decision.verdict == "rejected", "deciding goes on from the new version"
    for name in PROJECTIONS:
        await a_rebuild(database, name).run()
    async with tables(database) as found:
        # The refused event changes nothing: the model need not hear it.
        model = Model().log(events)
        model.verdicts[len(events) + 1] = (await found.verdicts())[len(events) + 1]  # type: ignore[assignment]
        await check_is_model(found, model)


async def test_of_many_changes_the_first_are_listed_and_all_are_counted(database: Database) -> None:
    events = history(30)
    await write(database, events)
    for position in range(10, 20):
        await refuse(database, position)
    with mock.patch.object(redecide_module, "LISTED", 3):
        done = await redecide(database, str(uuid4()), lambda step: None, accept=False)
    assert [change.position for change in done.changes] == [10, 11, 12]
    assert (done.different, done.switched) == (10, False)


async def test_decisions_are_switched_though_the_server_goes_on_deciding(database: Database) -> None:
    """What waits when it is decided again, and no longer when both are compared, is no change."""
    events = history(12)
    early = Sent(event_id(7_000), run_stream("late"), RunLogged(tags={"t": "early"}))
    late = Sent(event_id(7_001), run_stream("late"), RunCreated(name="n", start_time=1, ensured_by=ENSURED.id))
    async with pipeline(database) as p:
        await p.append([*events[:8], early])
        await refuse(database, 7)
        catch_up, rest = Decider.catch_up, iter([late, *events[8:]])

        async def and_the_server_goes_on(decider: Decider, *arguments: Any) -> None:
            await catch_up(decider, *arguments)
            if not arguments[0].is_in_transaction():
                await p.append([event] if (event := next(rest, None)) is not None else [])

        with mock.patch.object(Decider, "catch_up", and_the_server_goes_on):
            done = await redecide(database, str(uuid4()), lambda step: None, accept=True)
        assert (done.changes, done.switched) == ([(7, "rejected", "accepted")], True)
        assert await states(database, "decisions") == {1: "retired", 2: "live"}
        await p.append(list(rest))
    await fold(database)
    async with tables(database) as found:
        await check_is_model(found, Model().log([*events[:8], early, late, *events[8:]]))


@pytest.mark.parametrize("accept", [True, False])
async def test_what_a_busy_server_decides_meanwhile_is_compared_too(database: Database, accept: bool) -> None:
    events = history(12)
    async with pipeline(database) as p:
        await p.append(events[:8])
        catch_up = Decider.catch_up

        async def and_the_server_goes_on(decider: Decider, *arguments: Any) -> None:
            await catch_up(decider, *arguments)
            if not arguments[0].is_in_transaction() and p.tail.head < len(events):
                await p.append(events[8:])
                await refuse(database, len(events))

        with mock.patch.object(Decider, "catch_up", and_the_server_goes_on):
            done = await redecide(database, str(uuid4()), lambda step: None, accept=accept)
    assert done == (len(events), 1, [(len(events), "rejected", "accepted")], accept)
    assert await states(database, "decisions") == ({1: "retired", 2: "live"} if accept else {1: "live"})


@pytest.mark.parametrize("killed", [True, False])
async def test_a_rebuild_does_not_go_on_when_events_are_decided_otherwise(database: Database, killed: bool) -> None:
    """Its first half is of the old decisions; it begins again, whether it was killed or is at work."""
    events = history(30)
    await write(database, events)
    await refuse(database, 8)
    reached, go_on = asyncio.Event(), asyncio.Event()
    fill = Rebuild._fill

    async def and_wait(rebuilding: Rebuild, *arguments: Any) -> Any:
        if not reached.is_set():
            await fill(rebuilding, *arguments, 10)
            reached.set()
            await go_on.wait()
        return await fill(rebuilding, *arguments)

    with steps_of(5), mock.patch.object(Rebuild, "_fill", and_wait):
        begun = asyncio.create_task(a_rebuild(database, "runs").run())
        await reached.wait()
        if killed:
            begun.cancel()
        assert (await redecide(database, str(uuid4()), lambda step: None, accept=True)).switched
        go_on.set()
        with pytest.raises(asyncio.CancelledError if killed else CheckpointMoved):
            await begun
        assert await states(database, "runs") == {1: "live", 2: "retired"}
        for name in PROJECTIONS:
            await a_rebuild(database, name).run()
    async with tables(database) as found:
        await check_is_model(found, Model().log(events))


async def test_a_server_finds_its_runs_in_the_decisions_that_are_live_now(database: Database) -> None:
    """It decides nothing meanwhile, so that nothing tells it that the tables are others, and the old ones gone."""
    await write(database, history(6))
    node = Node(database, alone=True)
    async with node.running():
        await redecide(database, str(uuid4()), lambda step: None, accept=False)
        async with connected(database) as connection:
            assert await drop_retired(connection) == ["decisions_v1"]
        outcome = await node.gateway.write_run("r0", RunLogged(params={"new": "1"}), ANYONE)
        assert outcome.decision.verdict == "accepted"
        with pytest.raises(RequestError, match="not found"):
            await node.gateway.write_run("r9", RunLogged(params={"new": "1"}), ANYONE)
