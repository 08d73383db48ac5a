"""A batch of events where the bus is full, the log does not answer, or a projection stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from starlette.types import Message

from runstream_schemas.answers import BatchResult
from runstream_schemas.events import RunLogged
from runstream_schemas.ids import run_stream
from runstream_services.adapters.in_process_bus import InProcessBus
from runstream_services.adapters.postgres import Database, Pool
from runstream_services.gateway import events
from runstream_services.gateway.http import SENDER, Endpoint, Room
from runstream_services.gateway.sender import ANYONE
from runstream_services.gateway.service import Gateway
from tests.databases import reused_database
from tests.integration.test_parking import HISTORY, broken
from tests.native import body_of
from tests.pipeline import Pipeline, pipeline
from tests.sent import Sent, event_id

database = reused_database


def logged(number: int, run: str = "a") -> Sent:
    return Sent(event_id(number), run_stream(run), RunLogged(params={str(number): ""}))


@asynccontextmanager
async def endpoint(p: Pipeline, bus: InProcessBus, deadline_s: float = 15.0) -> AsyncIterator[Endpoint]:
    pool = Pool(p.database, 1)
    gateway = Gateway(bus, pool, p.decider, p.projector, lambda: 0, bytes, deadline_s)
    try:
        yield Endpoint(gateway, {"POST": events.append}, Room())
    finally:
        await pool.close()


async def post(endpoint: Endpoint, batch: list[Sent]) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of the answer."""
    answered: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body_of(batch)}

    async def send(message: Message) -> None:
        answered.append(message)

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/events", "headers": headers, SENDER: ANYONE}
    await endpoint(scope, receive, send)
    start, body = answered
    return start["status"], dict(start["headers"]), body["body"]


async def test_a_full_bus_takes_nothing_of_a_batch_and_all_of_it_later(database: Database) -> None:
    bus = InProcessBus("full", max_events=4)
    async with pipeline(database) as p, endpoint(p, bus) as api:
        waiting = asyncio.create_task(post(api, [logged(1), logged(2)]))
        await asyncio.sleep(0)
        batch = [logged(3), logged(4), logged(5)]
        status, headers, body = await post(api, batch)
        assert (status, headers[b"retry-after"], len(bus)) == (503, b"1", 2)
        assert msgspec.json.decode(body)["error_code"] == "TEMPORARILY_UNAVAILABLE"
        await p.writer.append(await bus.receive(10, 1 << 20))
        assert (await waiting)[0] == 200
        again = asyncio.create_task(post(api, batch))
        await asyncio.sleep(0)
        await p.writer.append(await bus.receive(10, 1 << 20))
        status, _, body = await again
        assert (status, msgspec.json.decode(body, type=BatchResult).position) == (200, 5)


async def test_what_nobody_knows_the_fate_of_is_a_503_and_may_be_sent_again(database: Database) -> None:
    bus = InProcessBus("slow")
    async with pipeline(database) as p, endpoint(p, bus, deadline_s=0.1) as api:
        batch = [logged(1), logged(2)]
        status, headers, body = await post(api, batch)
        assert (status, headers[b"retry-after"]) == (503, b"1")
        assert b"may still take effect" in body
        await p.writer.append(await bus.receive(10, 1 << 20))
        again = asyncio.create_task(post(api, batch))
        await asyncio.sleep(0)
        await p.writer.append(await bus.receive(10, 1 << 20))
        status, _, body = await again
        results = msgspec.json.decode(body, type=BatchResult).results
        assert (status, [result.position for result in results]) == (200, [1, 2])


async def test_an_event_of_a_stream_that_a_projection_stopped_is_taken_and_says_so(database: Database) -> None:
    async with pipeline(database) as p, p.folding(), endpoint(p, p.bus) as api:
        with broken("runs", KeyError("k")):
            await p.append(HISTORY)
            await p.folded()
        writing = asyncio.create_task(p.writer.run())
        _, _, body = await post(api, [logged(900, "a"), logged(901, "b")])
        p.bus.close()
        await writing
    results = msgspec.json.decode(body, type=BatchResult).results
    assert [(result.status, result.hidden_by) for result in results] == [("accepted", "runs"), ("accepted", None)]
