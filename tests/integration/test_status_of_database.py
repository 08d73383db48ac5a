"""What a status says is what the database has: lag, refusals, what waits, what is parked, dead letters, versions."""

from __future__ import annotations

from unittest import mock
from uuid import uuid4

import msgspec

from runstream_projections.catalogue import PROJECTIONS
from runstream_schemas.events import ExperimentEnsured, RunCreated, RunLogged
from runstream_schemas.ids import EXPERIMENTS, run_stream
from runstream_schemas.status import MOST_LISTED, Process, Status, Stored, Waiting
from runstream_services.adapters.postgres import Database, Pool
from runstream_services.adapters.postgres_status import read_status
from runstream_services.gateway import status as gateway_status
from runstream_services.gateway.http import Request
from runstream_services.gateway.service import Gateway
from runstream_services.projector.rebuild import Rebuild
from tests.databases import reused_database
from tests.pipeline import Clock, Pipeline, connected, fold, pipeline, write
from tests.sent import Sent, event_id

database = reused_database

NOW_US = 1_767_225_600_000_000


async def status(database: Database, now_us: int = NOW_US) -> Stored:
    async with connected(database, service=True) as connection:
        return await read_status(connection, now_us)


def logged(number: int, run: str, **params: str) -> Sent:
    return Sent(event_id(number), run_stream(run), RunLogged(params=params))


def history(refusals: int) -> list[Sent]:
    ensured = Sent(event_id(1), EXPERIMENTS, ExperimentEnsured(name="x", created_at=1))
    created = Sent(event_id(2), run_stream("a"), RunCreated(name="n", start_time=1, ensured_by=ensured.id))
    changed = [logged(10 + number, "a", p=str(number)) for number in range(1 + refusals)]
    early = [logged(900 + number, "early", p="1") for number in range(3)]
    return [ensured, created, *changed, *early, logged(990, "earlier")]


async def test_an_empty_log_is_told_of_as_one(database: Database) -> None:
    found = await status(database)
    assert (found.log.position, found.log.chain) == (0, "0" * 64)
    assert {p.name: (p.state, p.lag_events, p.lag_s) for p in found.projections} == dict.fromkeys(
        ("decisions", *PROJECTIONS), ("live", 0, 0.0)
    )
    assert (found.rejected, found.waiting, found.parked, found.dead_letters) == (0, 0, 0, 0)


async def test_lag_refusals_and_what_waits(database: Database) -> None:
    refusals = MOST_LISTED + 5
    events = history(refusals)
    async with pipeline(database, clock=Clock(NOW_US, tick_us=0)) as p:
        await p.append(events)
    found = await status(database, NOW_US + 2_500_000)
    head = len(events)
    assert (found.log.position, found.log.recorded_at) == (head, NOW_US // 1_000)
    behind = {p.name: (p.lag_events, p.lag_s) for p in found.projections}
    assert behind.pop("decisions") == (0, 0.0)
    assert set(behind.values()) == {(head, 2.5)}
    assert (found.rejected, len(found.last_rejected)) == (refusals, MOST_LISTED)
    assert found.last_rejected[0].position == 3 + refusals
    assert found.last_rejected[0].error_code == "INVALID_PARAMETER_VALUE"
    assert "was already logged with another value" in found.last_rejected[0].message
    assert (found.waiting, found.waiting_for) == (4, [Waiting("run/early", 3), Waiting("run/earlier", 1)])
    await fold(database)
    assert {p.lag_events for p in (await status(database)).projections} == {0}


async def test_parked_events_dead_letters_and_other_versions(database: Database) -> None:
    await write(database, history(0))
    await fold(database)
    dead = Sent(event_id(2_000), run_stream("a\ud800"), RunLogged())
    async with pipeline(database) as p:
        [delivery] = [p.delivery(dead)]
        await p.writer.append([delivery])
        assert delivery.outcome is not None
        assert delivery.outcome.exception() is not None
        topic = p.bus.origin.topic
    await Rebuild(database, "runs", str(uuid4()), lambda step: None).run()
    async with connected(database) as connection:
        await connection.execute(
            "insert into parked_events (name, version, position, stream, reason) "
            "select 'latest_metrics', 1, n, 'run/a', 'no ' || n from generate_series(1, $1) as n",
            MOST_LISTED + 1,
        )
    found = await status(database)
    assert (found.parked, len(found.first_parked)) == (MOST_LISTED + 1, MOST_LISTED)
    assert (found.first_parked[0].projection, found.first_parked[0].position) == ("latest_metrics", 1)
    assert found.first_parked[0].reason == "no 1"
    [letter] = found.last_dead_letters
    assert (found.dead_letters, letter.topic, letter.partition, letter.offset) == (1, topic, 0, 0)
    assert "surrogate" in letter.reason
    assert letter.size > 0
    versions = {(p.version, p.state, p.lag_events) for p in found.projections if p.name == "runs"}
    assert versions == {(1, "retired", None), (2, "live", 0)}


async def looked_at(p: Pipeline, database: Database) -> Status:
    pool = Pool(database, 1)
    gateway = Gateway(p.bus, pool, p.decider, p.projector, lambda: 0, bytes, process=lambda: Process(appends=7))
    try:
        answer = await gateway_status.status(gateway, Request(b"", []))
        return msgspec.json.decode(answer.body, type=Status)
    finally:
        await pool.close()


async def test_a_database_that_is_away_or_does_not_answer_is_said(database: Database) -> None:
    async with pipeline(database) as p, connected(database) as owner:
        assert (await looked_at(p, database)).trouble is None
        nowhere = Database({**database.arguments, "host": "/nonexistent"})
        away = await looked_at(p, nowhere)
        async with owner.transaction():
            await owner.execute("lock table log_head in access exclusive mode")
            with mock.patch.object(gateway_status, "PATIENCE_S", 0.1):
                silent = await looked_at(p, database)
    assert (away.stored, silent.stored) == (None, None)
    assert away.trouble is not None
    assert "PostgreSQL is away" in away.trouble
    assert silent.trouble == "PostgreSQL did not answer within 0.1 s"
    assert away.process.appends == silent.process.appends == 7
