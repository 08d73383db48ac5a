"""A page of a history reads the chunks that it needs, and holds what one page of everything would."""

from __future__ import annotations

import random
from collections.abc import Iterator
from unittest import mock
from urllib.parse import parse_qsl, urlencode

import orjson
import pytest
from starlette.types import Message
from structlog.testing import capture_logs

from runstream_schemas.events import ExperimentEnsured, RunCreated, RunLogged
from runstream_schemas.ids import EXPERIMENTS, run_stream
from runstream_services.adapters.postgres import Database, Pool
from runstream_services.gateway import histories, metrics
from runstream_services.gateway.http import SENDER, Endpoint, Request, Room
from runstream_services.gateway.sender import ANYONE
from runstream_services.gateway.service import Gateway
from tests.databases import reused_database
from tests.laws.histories import of_points
from tests.pipeline import compact, connected, pipeline
from tests.sent import Sent, event_id

database = reused_database

ENSURED = Sent(event_id(1), EXPERIMENTS, ExperimentEnsured(name="a", created_at=1))
CREATED = Sent(event_id(2), run_stream("r"), RunCreated(name="r", start_time=1, ensured_by=ENSURED.id))

Point = tuple[int, int, float]


@pytest.fixture(autouse=True)
def _nothing_to_spare() -> Iterator[None]:
    with mock.patch.object(histories, "SPARE_POINTS", 0):
        yield


async def pages(gateway: Gateway, size: int | None) -> list[list[Point]]:
    """The pages of the history of key k of run r."""
    found = []
    query = {"run_id": "r", "metric_key": "k"} | ({} if size is None else {"max_results": str(size)})
    while True:
        answer = await metrics.get_history(gateway, Request(b"", parse_qsl(urlencode(query))))
        parts = [answer.body] if answer.rest is None else [answer.body, *[part async for part in answer.rest]]
        body = orjson.loads(b"".join(parts))
        found.append([(p["timestamp"], p["step"], p["value"]) for p in body.get("metrics", ())])
        if "next_page_token" not in body:
            return found
        query["page_token"] = body["next_page_token"]


def batches(dice: random.Random) -> Iterator[list[Point]]:
    """Log calls: time mostly goes on, some points come late, some again, and many share a timestamp."""
    sent: list[Point] = []
    for call in range(40):
        batch = [
            (max(0, call // 3 + dice.choice([0, 0, 0, 1, -9])), dice.randrange(3), dice.choice([0.5, 1.5, -2.5]))
            for _ in range(dice.randint(1, 9))
        ]
        batch += dice.sample(sent, min(len(sent), 2))
        sent += batch
        yield batch


@pytest.mark.parametrize("seed", range(4))
async def test_pages_of_any_size_hold_the_same_wherever_chunks_begin(database: Database, seed: int) -> None:
    dice = random.Random(seed)
    sent: set[Point] = set()
    async with pipeline(database) as p, p.folding():
        await p.append([ENSURED, CREATED])
        for at, batch in enumerate(batches(dice)):
            points = [((key, None, (None, None)), step, ts, v) for ts, step, v in batch for key in ("j", "k", "l")]
            await p.append([Sent(event_id(100 + at), run_stream("r"), RunLogged(metrics=of_points(points)))])
            await p.folded(["metric_blocks"])  # a tail row for each call
            sent.update(batch)
            if at == 25:
                await compact(p, "r")
        pool = Pool(p.database, 2)
        gateway = Gateway(p.bus, pool, p.decider, p.projector, lambda: 0, bytes)
        try:
            for size in (1, 2, 7, 50, 1_000):
                found = await pages(gateway, size)
                assert [point for page in found for point in page] == sorted(sent)
                assert {len(page) for page in found[:-1]} <= {size}
                with mock.patch.object(metrics, "PART_POINTS", size):
                    assert await pages(gateway, None) == [sorted(sent)]
                    assert [len(page) for page in await pages(gateway, 17)][:2] == [17, 17]
        finally:
            await pool.close()


async def test_a_page_leaves_out_the_chunks_behind_it(database: Database) -> None:
    async with pipeline(database) as p, p.folding():
        await p.append([ENSURED, CREATED])
        for at in range(30):
            points = of_points([(("k", None, (None, None)), at, at, float(at))])
            await p.append([Sent(event_id(100 + at), run_stream("r"), RunLogged(metrics=points))])
            await p.folded(["metric_blocks"])
        pool = Pool(p.database, 2)
        gateway = Gateway(p.bus, pool, p.decider, p.projector, lambda: 0, bytes)
        read: list[int] = []

        def decode(data: bytes) -> object:
            read.append(len(data))
            return unpatched(data)

        unpatched = histories.decode
        try:
            with mock.patch.object(histories, "decode", decode), mock.patch.object(histories, "SPARE_POINTS", 5):
                assert await pages(gateway, 10) == [
                    [(at, at, float(at)) for at in range(first, first + 10)] for first in (0, 10, 20)
                ]
        finally:
            await pool.close()
        assert len(read) == 15 + 15 + 11


async def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(database: Database) -> None:
    """PostgreSQL goes away in the middle of a long history: the connection is cut before the end."""
    async with pipeline(database) as p, p.folding():
        await p.append([ENSURED, CREATED])
        points = of_points([(("k", None, (None, None)), at, at, float(at)) for at in range(30)])
        await p.append([Sent(event_id(100), run_stream("r"), RunLogged(metrics=points))])
        await p.folded(["metric_blocks"])
        pool = Pool(p.database, 1)
        gateway = Gateway(p.bus, pool, p.decider, p.projector, lambda: 0, bytes, deadline_s=0.2)
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)
            if message["type"] == "http.response.body":
                await owner.execute("alter table log_head rename to gone")

        scope = {"type": "http", "method": "GET", "path": "/x", "query_string": b"run_id=r&metric_key=k", "headers": []}
        scope[SENDER] = ANYONE
        endpoint = Endpoint(gateway, {"GET": metrics.get_history}, Room())
        async with connected(database) as owner:
            try:
                with mock.patch.object(metrics, "PART_POINTS", 10), capture_logs() as said:
                    await endpoint(scope, mock.AsyncMock(), send)
            finally:
                await owner.execute("alter table gone rename to log_head")
                await pool.close()
        assert [message.get("more_body") for message in sent] == [None, True]
        assert [entry["event"] for entry in said] == ["an answer broke off"]
