"""A run reads the same with documents and without: where it is new, narrow, wide, or was wide once."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runstream_projections.documents import MAX_CHARACTERS, MAX_ROWS
from runstream_schemas.columns import columns_from_points
from runstream_schemas.events import Event, ExperimentCreated, RunCreated, RunLogged, RunTagDeleted
from runstream_schemas.ids import EXPERIMENTS, run_stream
from runstream_services.adapters.postgres import Database
from runstream_services.embedded import Node
from runstream_services.gateway.access import Access
from runstream_services.gateway.app import build
from runstream_services.gateway.hosts import Hosts
from tests.databases import reused_database
from tests.laws.model import Model
from tests.laws.test_document_laws import check_documents, documents_of
from tests.laws.test_folding_laws import check_is_model
from tests.pipeline import Pipeline, pipeline, tables
from tests.sent import Sent, event_id

database = reused_database


class Logged:
    """A run in a log: what was sent to it, and what the tables have of it."""

    def __init__(self, p: Pipeline, database: Database) -> None:
        self.sent: list[Sent] = []
        self._pipeline = p
        self._database = database

    async def log(self, *events: Event) -> dict[str, bool]:
        """Fold events together; tell which of the run's documents there are."""
        batch = [
            Sent(event_id(at), EXPERIMENTS if isinstance(event, ExperimentCreated) else run_stream("r"), event)
            for at, event in enumerate(events, len(self.sent))
        ]
        self.sent += batch
        await self._pipeline.append(batch)
        await self._pipeline.folded()
        model = Model().log(self.sent)
        async with tables(self._database) as found:
            await check_is_model(found, model)
            await check_documents(found, model)
            return {name: document is not None for name, document in (await documents_of(found, "r")).items()}


@pytest.fixture
async def run(database: Database) -> AsyncIterator[Logged]:
    """A run's log, in which nothing is yet."""
    async with pipeline(database) as p, p.folding():
        yield Logged(p, database)


BEFORE = ExperimentCreated(name="Default", created_at=1)
CREATED = RunCreated(name="", start_time=1, experiment_id=0)
ALL = {"params": True, "tags": True, "latest_metrics": True}


def some(first: int, size: int, value: str = "") -> dict[str, str]:
    return {f"k{at:04}": value for at in range(first, first + size)}


def metrics(first: int, size: int) -> RunLogged:
    keys = [f"m{at:04}" for at in range(first, first + size)]
    return RunLogged(metrics=columns_from_points(keys, [0] * size, [1] * size, [0.5] * size))


@pytest.mark.parametrize("name", ["params", "tags", "latest_metrics"])
async def test_above_so_many_rows_there_is_no_document(run: Logged, name: str) -> None:
    def of(first: int, size: int) -> RunLogged:
        return metrics(first, size) if name == "latest_metrics" else RunLogged(**{name: some(first, size)})

    assert await run.log(BEFORE, CREATED, of(0, MAX_ROWS - 1)) == ALL
    assert await run.log(of(MAX_ROWS - 1, 1)) == ALL
    assert await run.log(of(MAX_ROWS, 1)) == ALL | {name: False}
    assert await run.log(of(MAX_ROWS + 1, 1)) == ALL | {name: False}


@pytest.mark.parametrize("name", ["params", "tags"])
@pytest.mark.parametrize("character", ["x", "\U0001f40d"])
async def test_above_so_many_characters_there_is_no_document(run: Logged, name: str, character: str) -> None:
    def of(first: int, characters: int) -> RunLogged:
        return RunLogged(**{name: some(first, 1, character * characters)})

    assert await run.log(BEFORE, CREATED, of(0, MAX_CHARACTERS // 2)) == ALL
    assert await run.log(of(1, MAX_CHARACTERS // 2)) == ALL
    assert await run.log(of(2, 1)) == ALL | {name: False}


@pytest.mark.parametrize("name", ["params", "tags", "latest_metrics"])
@pytest.mark.parametrize("over", [False, True])
async def test_a_run_that_is_new_has_documents_by_the_same_limits(run: Logged, name: str, over: bool) -> None:
    size = MAX_ROWS + over
    wide = metrics(0, size) if name == "latest_metrics" else RunLogged(**{name: some(0, size)})
    assert await run.log(BEFORE, CREATED, wide) == ALL | {name: not over}


async def test_a_new_run_of_many_characters_has_no_document(run: Logged) -> None:
    half = "x" * (MAX_CHARACTERS // 2)
    wide = RunLogged(params=some(0, 2, half), tags=some(0, 2, half + "x"))
    assert await run.log(BEFORE, CREATED, wide) == ALL | {"tags": False}


async def test_a_run_that_was_wide_reads_right_for_ever(run: Logged) -> None:
    """Its documents stay away: to look whether it is narrow again would cost every change of a wide run."""
    await run.log(BEFORE, CREATED, RunLogged(tags=some(0, MAX_ROWS + 1)))
    assert await run.log(*map(RunTagDeleted, some(0, MAX_ROWS))) == ALL | {"tags": False}
    assert await run.log(RunLogged(tags={"a": "1"}, params={"p": "2"})) == ALL | {"tags": False}


async def test_tags_that_come_and_go_within_one_change_are_not_wide(run: Logged) -> None:
    many = some(0, MAX_ROWS + 1)
    assert await run.log(BEFORE, CREATED, RunLogged(tags=many), *map(RunTagDeleted, many)) == ALL


# What runs/create answers, which Python renders, and what runs/get answers, which PostgreSQL does

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
AWKWARD = st.sampled_from(
    ['"', "\\", "\x01\x1f\x7f\x80", "\u2028\u2029", "\ufeff", "</script>", "\U0001f40d", "\b\f\n\r\t"]
)
VALUE = TEXT | AWKWARD
KEY = st.text(st.characters(categories=["L", "N"], include_characters="/_-. :"), min_size=1, max_size=30).map(
    lambda key: f"k{key}"
)
LOCATION = st.sampled_from([None, "s3://bucket/é?x=1&y=a%2Fb", "file:here", "/abs/olute", "relative", "gs://b/a b"])


numbers = count()


@pytest.fixture
async def gateway(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """The gateway of a whole node, without a socket."""
    node = Node(database, alone=True)
    async with node.running():
        transport = httpx.ASGITransport(app=build(node.gateway, Access(Hosts(), None)))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost/api/2.0/mlflow/") as client:
            yield client


async def answered(client: httpx.AsyncClient, path: str, **body: Any) -> Any:
    answer = await client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=VALUE, user=VALUE, tags=st.dictionaries(KEY, VALUE, max_size=4), location=LOCATION)
async def test_a_run_is_read_as_its_creation_was_answered(
    gateway: httpx.AsyncClient, name: str, user: str, tags: dict[str, str], location: str | None
) -> None:
    experiment = await answered(gateway, "experiments/create", name=f"e{next(numbers)}", artifact_location=location)
    made = await answered(
        gateway,
        "runs/create",
        run_name=name,
        user_id=user,
        start_time=1,
        tags=[{"key": key, "value": value} for key, value in tags.items()],
        **experiment,
    )
    run_id = made["run"]["info"]["run_id"]
    made["run"]["outputs"] = {}  # as in stock, the answer to a creation alone has none
    read = await gateway.get("runs/get", params={"run_id": run_id})
    assert json.loads(read.content) == made
    updated = await answered(gateway, "runs/update", run_id=run_id, status="RUNNING")
    assert updated["run_info"] == made["run"]["info"]
    found = await answered(gateway, "runs/search", experiment_ids=[experiment["experiment_id"]])
    assert found == {"runs": [made["run"]]}


@pytest.mark.parametrize(
    "value", [0.0, -0.0, 1.0, 1e14, 123456789012345.0, 1e15, 1e16, 1e22, 0.1, 1e-4, 1e-5, 5e-324, sys.float_info.max]
)
async def test_a_double_is_read_as_it_was_logged(run: Logged, database: Database, value: float) -> None:
    columns = columns_from_points(["m", "n"], [0, -(1 << 63)], [(1 << 63) - 1, 1], [value, -value])
    await run.log(BEFORE, CREATED, RunLogged(metrics=columns))
    async with tables(database) as found:
        answer = await found.run("r")
    assert answer is not None
    assert [repr(metric["value"]) for metric in answer["data"]["metrics"]] == [repr(value), repr(-value)]
