"""An event that a projection cannot fold stops its own stream in that projection, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock
from uuid import uuid4

import httpx
import pytest
import zstandard

from runstream_projections.catalogue import PROJECTIONS
from runstream_projections.projection import Batch, Statement
from runstream_schemas.errors import InvalidEvent, LogCorrupt, Unavailable, Undecodable
from runstream_schemas.events import Event, ExperimentEnsured, RunCreated, RunLogged, RunUpdated
from runstream_schemas.ids import EXPERIMENTS, run_stream
from runstream_services.adapters.postgres import Database
from runstream_services.embedded import Node
from runstream_services.gateway.access import Access
from runstream_services.gateway.app import build
from runstream_services.gateway.hosts import Hosts
from runstream_services.projector.rebuild import Rebuild
from runstream_services.projector.verify import verify_projection
from tests.databases import reused_database
from tests.laws.histories import incompressible, of_points
from tests.laws.model import Model
from tests.laws.test_folding_laws import check_is_model
from tests.pipeline import Pipeline, connected, eventually, fold, pairs, pipeline, tables, write
from tests.sent import Sent, event_id

database = reused_database

ENSURED = Sent(event_id(1), EXPERIMENTS, ExperimentEnsured(name="a", created_at=1))
#: A tag value that the broken fold refuses.
POISON = "poison"


def created(number: int, run: str) -> Sent:
    return Sent(event_id(number), run_stream(run), RunCreated(name=run, start_time=1, ensured_by=ENSURED.id))


def sent(number: int, run: str, event: Event) -> Sent:
    return Sent(event_id(number), run_stream(run), event)


def logged(number: int, run: str, value: str = "fine") -> Sent:
    metrics = of_points([(("loss", None, (None, None)), number, number, 1.0)])
    return sent(number, run, RunLogged(metrics=metrics, params={f"p{number}": value}, tags={"t": value}))


@contextmanager
def broken(name: str, error: Exception | None = None) -> Iterator[None]:
    """A release whose fold of one projection fails on the poison, in Python or in PostgreSQL."""
    whole = PROJECTIONS[name]

    def fold_but_poison(batch: Batch, suffix: str) -> list[Statement]:
        if any(POISON in getattr(e.event, "tags", {}).values() for e in batch.events):
            if error is None:
                return [Statement("select 1 / 0", ())]
            raise error
        return whole.fold(batch, suffix)

    with mock.patch.dict(PROJECTIONS, {name: replace(whole, fold=fold_but_poison)}):
        yield


async def parked(database: Database) -> list[tuple[Any, ...]]:
    async with connected(database) as connection:
        rows = await connection.fetch("select name, stream, position, reason from parked_events order by 1, 3, 2")
        return [tuple(row) for row in rows]


async def rebuild(database: Database, name: str) -> int:
    return await Rebuild(database, name, str(uuid4()), lambda step: None).run()


async def see_repair(p: Pipeline, name: str, version: int) -> None:
    """Wait until the projector reads the new version, which nothing but the catalogue tells it."""

    async def reads_it() -> bool:
        standing = p.projector.standing(name)
        return standing is not None and standing.version == version

    await eventually(f"{name} is read in version {version}", reads_it)


HISTORY = [
    ENSURED,
    created(2, "a"),
    created(3, "b"),
    logged(4, "a"),
    logged(5, "b"),
    logged(6, "a", POISON),
    logged(7, "b"),
    logged(8, "a"),
    sent(9, "a", RunUpdated(status="FINISHED")),
    logged(10, "b"),
]


@pytest.mark.parametrize("name", list(PROJECTIONS))
@pytest.mark.parametrize("error", [None, KeyError("k"), InvalidEvent("too many points")], ids=["sql", "key", "invalid"])
async def test_one_stream_stops_in_one_projection_until_it_is_rebuilt(
    database: Database, name: str, error: Exception | None
) -> None:
    async with pipeline(database) as p, p.folding():
        with broken(name, error):
            await p.append(HISTORY)
            await p.folded()
            async with pipeline(database) as other:  # the parked stream stays so for what comes later
                await other.append([logged(11, "a"), logged(12, "b")])
            await p.folded()
            assert p.projector.parked_at(run_stream("a")) == (name, 6)
            assert p.projector.parked_at(run_stream("b")) is None
        found = await parked(database)
        behind = [(name, "run/a", at, "behind position 6") for at in (8, 9, 11)]
        assert [row[:3] for row in found] == [(name, "run/a", 6), *(row[:3] for row in behind)]
        assert found[1:] == behind
        assert found[0][3]
        await check_others(database, name)
        version = await rebuild(database, name)
        await see_repair(p, name, version)
        assert p.projector.parked_at(run_stream("a")) is None
    assert await parked(database) == []
    async with tables(database) as whole:
        await check_is_model(whole, Model().log([*HISTORY, logged(11, "a"), logged(12, "b")]))


async def test_while_the_experiments_are_parked_what_would_not_be_seen_is_refused(database: Database) -> None:
    node = Node(database, alone=True)
    whole = PROJECTIONS["experiments"]

    def fold(batch: Batch, suffix: str) -> list[Statement]:
        if any(getattr(e.event, "name", "") == POISON for e in batch.events):
            raise KeyError("k")
        return whole.fold(batch, suffix)

    with mock.patch.dict(PROJECTIONS, {"experiments": replace(whole, fold=fold)}):
        async with (
            node.running(),
            httpx.AsyncClient(transport=httpx.ASGITransport(build(node.gateway, Access(Hosts(), None)))) as client,
        ):

            async def post(path: str, body: dict[str, Any]) -> httpx.Response:
                return await client.post(f"http://localhost/api/2.0/mlflow/{path}", json=body)

            run = (await post("runs/create", {})).json()["run"]["info"]["run_id"]
            assert (await post("experiments/create", {"name": POISON})).status_code == 200

            async def stopped() -> bool:
                return node.projector.parked_at(EXPERIMENTS) is not None

            await eventually("the experiments are parked", stopped)
            for path in ("experiments/create", "runs/create"):
                refused = await post(path, {"name": "b", "experiment_id": "0"})
                assert (refused.status_code, refused.json()["error_code"]) == (409, "RESOURCE_CONFLICT")
                assert "The experiments are parked: projection experiments" in refused.json()["message"]
            assert (await post("runs/set-tag", {"run_id": run, "key": "a", "value": "b"})).status_code == 200


async def check_others(database: Database, broken_name: str) -> None:
    """Run b is whole in every projection, and run a in all but the broken one, which has it as it was before."""
    whole = Model().log([*HISTORY, logged(11, "a"), logged(12, "b")])
    before = Model().log(HISTORY[:5])
    async with tables(database) as found:
        for run_id in "ab":
            answer = await found.run(run_id)
            assert answer is not None
            shown = {
                "runs": (answer["info"]["status"], pairs(answer, "params"), pairs(answer, "tags")),
                "latest_metrics": [metric["step"] for metric in answer["data"]["metrics"]],
                "metric_blocks": [step for _, step, _ in await found.points(run_id, "loss")],
            }
            for name, content in shown.items():
                run = (before if (run_id, name) == ("a", broken_name) else whole).runs[run_id]
                expected = {
                    "runs": (run.status, run.params, run.tags),
                    "latest_metrics": [p.step for p in run.latest.values()],
                    "metric_blocks": [p.step for p in run.points["loss"]],
                }
                assert content == expected[name], (run_id, name)


async def test_a_value_that_postgresql_refuses_is_found_among_many(database: Database) -> None:
    """A key longer than an index row passes the log and the decisions; only the table of params cannot take it."""
    runs = [f"r{at}" for at in range(20)]
    history = [ENSURED, *(created(100 + at, run) for at, run in enumerate(runs))]
    history += [logged(200 + at, run) for at, run in enumerate(runs * 10)]
    long_key = sent(900, "r7", RunLogged(params={incompressible(3_000, 1): "v"}))
    history.insert(100, long_key)
    await write(database, history)
    async with pipeline(database) as p, p.folding():
        await p.folded()
        assert p.projector.parked_at(run_stream("r7")) == ("runs", 101)
        assert [p.projector.parked_at(run_stream(run)) for run in runs if run != "r7"] == [None] * 19
    found = await parked(database)
    assert {row[:2] for row in found} == {("runs", "run/r7")}
    assert len(found) == 1 + sum(s.stream == "run/r7" for s in history[101:])
    assert "index row" in found[0][3]


@pytest.mark.parametrize("error", [None, KeyError("k")], ids=["sql", "key"])
async def test_a_rebuild_names_what_it_cannot_fold(database: Database, error: Exception | None) -> None:
    await write(database, HISTORY)
    await fold(database)
    with broken("runs", error):
        for attempt in (
            rebuild(database, "runs"),
            verify_projection(database, "runs", str(uuid4()), lambda step: None),
        ):
            with pytest.raises(InvalidEvent, match="runs cannot fold position 6, of run/a: "):
                await attempt
    async with connected(database) as connection:
        assert await connection.fetchval("select version from projections where name = 'runs' and state = 'live'") == 1


async def test_streams_that_take_effect_at_one_position_are_parked_one_by_one(database: Database) -> None:
    """An experiment releases the runs that waited for it, and these their events: all at its position."""
    early = [logged(10, "a"), logged(11, "b", POISON), logged(12, "c"), logged(13, "d", POISON), logged(14, "a")]
    history = [*early, *(created(20 + at, run) for at, run in enumerate("abcd")), ENSURED]
    later = [logged(30 + at, run) for at, run in enumerate("abcd")]
    with broken("runs"):
        await write(database, history, later)
        await fold(database)
        async with pipeline(database) as p, p.folding():  # after a restart
            await p.folded()
            at = len(history)
            stopped = [p.projector.parked_at(run_stream(run)) for run in "abcd"]
            assert stopped == [None, ("runs", at), None, ("runs", at)]
            assert p.projector.parked_at(EXPERIMENTS) is None
    found = await parked(database)
    assert [row[:3] for row in found] == [
        ("runs", "run/b", at),
        ("runs", "run/d", at),
        ("runs", "run/b", at + 2),
        ("runs", "run/d", at + 4),
    ]
    await rebuild(database, "runs")
    await fold(database)
    async with tables(database) as whole:
        await check_is_model(whole, Model().log([*history, *later]))


async def test_an_error_of_the_server_parks_nothing(database: Database) -> None:
    async with connected(database) as owner, pipeline(database) as p, p.folding():
        await p.append(HISTORY[:5])
        await p.folded()
        await owner.execute("revoke insert on tags_v1 from runstream_service")
        await p.append(HISTORY[5:])
        with pytest.raises(Unavailable):
            await p.projector.wait_for(["runs"], len(HISTORY), 1)
        assert await parked(database) == []
        await owner.execute("grant insert on tags_v1 to runstream_service")
        await p.folded()
        assert await parked(database) == []


async def put_payload(database: Database, position: int, payload: bytes) -> bytes:
    """Store other bytes as an event's payload, as only a superuser or a failing disk can; return what was there."""
    async with connected(database) as connection, connection.transaction():
        await connection.execute("set local session_replication_role = replica")
        was: bytes = await connection.fetchval("select payload from event_log where position = $1", position)
        await connection.execute("update event_log set payload = $2 where position = $1", position, payload)
        return was


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"damaged", "the payload at position 6 is damaged"),
        (zstandard.ZstdCompressor().compress(b'{"unknown":1}'), "not a RunLogged"),
    ],
    ids=["damaged", "of another form"],
)
async def test_an_event_that_cannot_be_decoded_stops_its_stream_alone(
    database: Database, payload: bytes, reason: str
) -> None:
    await write(database, HISTORY)
    whole = await put_payload(database, 6, payload)
    async with pipeline(database) as p, p.folding():
        await p.folded()
        assert p.projector.parked_at(run_stream("a")) is not None
        assert p.projector.parked_at(run_stream("b")) is None
    found = await parked(database)
    # Projections of other events go on; each of these has stopped at the event, and keeps what comes behind it.
    first = {name: why for name, stream, position, why in found if position == 6}
    assert set(first) == {name for name, projection in PROJECTIONS.items() if RunLogged in projection.handles}
    assert all(reason in why for why in first.values())
    assert {row[1] for row in found} == {"run/a"}
    with pytest.raises((LogCorrupt, Undecodable), match="position 6"):
        await rebuild(database, "runs")
    async with tables(database) as tables_now:
        run = await tables_now.run("b")
        assert run is not None
        assert list(pairs(run, "params")) == ["p10", "p5", "p7"]
    await put_payload(database, 6, whole)
    for name in PROJECTIONS:
        await rebuild(database, name)
    async with tables(database) as tables_now:
        await check_is_model(tables_now, Model().log(HISTORY))


async def test_what_waits_and_cannot_be_decoded_goes_on_waiting_alone(database: Database) -> None:
    early = [logged(10, "a"), logged(11, "a")]
    await write(database, early)
    await put_payload(database, 1, b"damaged")
    await write(database, [ENSURED, created(20, "a"), logged(21, "a")])
    await fold(database)
    async with tables(database) as found:
        verdicts = [verdict for verdict, _, _ in (await found.verdicts()).values()]
        assert verdicts == ["waiting", *["accepted"] * 4]
        run = await found.run("a")
        assert run is not None
        assert list(pairs(run, "params")) == ["p11", "p21"]
    assert await parked(database) == []


@asynccontextmanager
async def served(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """The gateway of a whole node, without a socket."""
    node = Node(database, alone=True)
    async with node.running():
        transport = httpx.ASGITransport(app=build(node.gateway, Access(Hosts(), None)))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost/api/2.0/mlflow/") as client:
            yield client


async def test_writes_to_a_parked_run_are_refused_and_metrics_are_kept(database: Database) -> None:
    async with served(database) as client:

        async def post(path: str, **body: Any) -> httpx.Response:
            return await client.post(path, json=body)

        async def get_run(run_id: str) -> dict[str, Any]:
            answer = await client.get("runs/get", params={"run_id": run_id})
            assert answer.status_code == 200
            run: dict[str, Any] = answer.json()["run"]
            return run

        runs = [(await post("runs/create", experiment_id="0")).json()["run"]["info"]["run_id"] for _ in range(2)]
        stopped, other = runs
        with broken("runs"):
            assert (await post("runs/set-tag", run_id=stopped, key="t", value=POISON)).status_code == 200
            await get_run(stopped)
            metric = {"key": "loss", "value": 1.5, "timestamp": 1, "step": 1}
            for path, body in (
                ("runs/set-tag", {"key": "t", "value": "v"}),
                ("runs/log-parameter", {"key": "p", "value": "v"}),
                ("runs/log-batch", {"metrics": [metric], "params": [{"key": "p", "value": "v"}]}),
                ("runs/update", {"status": "FINISHED"}),
                ("runs/delete", {}),
                ("runs/delete-tag", {"key": "t"}),
            ):
                refused = await post(path, run_id=stopped, **body)
                assert refused.status_code == 409, (path, refused.text)
                assert refused.json()["error_code"] == "RESOURCE_CONFLICT"
                assert "position 4" in refused.json()["message"]
                assert "runstream rebuild runs" in refused.json()["message"]
            for path, body in (("runs/log-batch", {"metrics": [metric]}), ("runs/log-metric", metric | {"step": 2})):
                taken = await post(path, run_id=stopped, **body)
                assert (taken.status_code, taken.headers["x-runstream-not-visible"]) == (200, "runs")
            for path, body in (("runs/set-tag", {"key": "t", "value": "v"}), ("runs/log-metric", metric)):
                taken = await post(path, run_id=other, **body)
                assert taken.status_code == 200
                assert "x-runstream-not-visible" not in taken.headers
        await rebuild(database, "runs")

        async def repaired() -> bool:
            return (await post("runs/set-tag", run_id=stopped, key="t", value="v")).status_code == 200

        await eventually("the run takes tags again", repaired)
        run = await get_run(stopped)
        assert {tag["key"]: tag["value"] for tag in run["data"]["tags"]}["t"] == "v"
        assert run["data"]["metrics"][0]["step"] == 2
        assert "x-runstream-not-visible" not in (await post("runs/log-metric", run_id=stopped, **metric)).headers
        await asyncio.sleep(0)
