"""Law of sending again: however a sender cuts, repeats and reorders what it sent once, log and results are the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import msgspec
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from runstream_schemas.answers import BatchResult, EventResult
from runstream_services.adapters.postgres import Database, Pool
from runstream_services.gateway import events
from runstream_services.gateway.http import Request
from runstream_services.gateway.service import Gateway
from tests.laws.conftest import Empty
from tests.laws.effort import FEWER, MANY
from tests.laws.histories import cut, cuts, histories
from tests.native import body_of
from tests.pipeline import fold, pipeline, tables
from tests.sent import Sent

Send = Callable[[list[Sent]], Awaitable[BatchResult]]


@asynccontextmanager
async def gateway(database: Database) -> AsyncIterator[Send]:
    """A server's write path from the endpoint to the log; as after a start, nothing is remembered."""
    async with pipeline(database) as p:
        pool = Pool(database, 1)
        endpoint = Gateway(p.bus, pool, p.decider, p.projector, lambda: 0, bytes)
        writing = asyncio.create_task(p.writer.run())

        async def send(batch: list[Sent]) -> BatchResult:
            answer = await events.append(endpoint, Request(body_of(batch), []))
            return msgspec.json.decode(answer.body, type=BatchResult)

        try:
            yield send
        finally:
            p.bus.close()
            await writing
            await pool.close()


def check_again(first: EventResult, again: EventResult) -> None:
    """The first one's answer; what waited may have been decided meanwhile, and nothing else is ever decided again."""
    assert again.id == first.id
    assert again.position == first.position
    assert again == first or first.status == "waiting"


def check_batch(batch: list[Sent], answer: BatchResult) -> None:
    assert [result.id for result in answer.results] == [sent.id for sent in batch]
    assert answer.position == max((result.position or 0 for result in answer.results), default=0)


async def send_as_it_comes(database: Database, history: list[Sent], data: st.DataObject) -> dict[UUID, EventResult]:
    """Send a history in batches, to a new start each, and any events of them again with each, in any order."""
    first: dict[UUID, EventResult] = {}
    sent: list[Sent] = []
    for batch in cut(history, data.draw(cuts(len(history)), label="cuts")):
        async with gateway(database) as send:
            answer = await send(batch)
            check_batch(batch, answer)
            first.update({sent.id: result for sent, result in zip(batch, answer.results, strict=True)})
            sent += batch
            again = data.draw(st.lists(st.sampled_from(sent), max_size=8), label="again")
            answer = await send(again)
            check_batch(again, answer)
            for result in answer.results:
                assert result.id is not None
                check_again(first[result.id], result)
    return first


async def check_sending(one: Database, other: Database, history: list[Sent], data: st.DataObject) -> None:
    async with gateway(one) as send:
        whole = await send(history)
    check_batch(history, whole)
    in_log = [result.position for result in whole.results if result.position is not None]
    assert in_log == list(range(1, len(in_log) + 1)), "appended in the order sent"
    event(f"{10 * (10 * len(in_log) // len(history))} % keep the rules")
    first = await send_as_it_comes(other, history, data)
    for result in whole.results:
        assert result.id is not None
        assert first[result.id].position == result.position
    async with gateway(one) as send_one, gateway(other) as send_other:
        assert (await send_one(history)).results == (await send_other(history)).results
    await fold(one)
    await fold(other)
    async with tables(one) as once, tables(other) as often:
        log = [(sent.id, sent.stream, type(sent.event).__name__) for sent in history if first[sent.id].position]
        assert await often.log() == await once.log() == log
        assert await often.decisions() == await once.decisions()
        assert await often.hashes() == await once.hashes()


@FEWER
@given(history=histories(), data=st.data())
async def test_sending_again_changes_nothing(empty_pair: Empty, history: list[Sent], data: st.DataObject) -> None:
    await check_sending(*await empty_pair(), history, data)


@pytest.mark.long
@MANY
@given(history=histories(max_size=250), data=st.data())
async def test_sending_again_changes_nothing_often(empty_pair: Empty, history: list[Sent], data: st.DataObject) -> None:
    await check_sending(*await empty_pair(), history, data)
