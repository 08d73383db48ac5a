"""Law of delivering twice: the same event id, again at any time, changes nothing and gets the first one's answer."""

from __future__ import annotations

from contextlib import AsyncExitStack
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_services.adapters.postgres import Database
from runstream_services.ports import Outcome
from tests.laws.conftest import Empty
from tests.laws.effort import FEW, MANY
from tests.laws.histories import cut, cuts, histories
from tests.pipeline import fold, pipeline, tables, write
from tests.sent import Sent


def with_repeats(batch: list[Sent], earlier: list[Sent], data: st.DataObject) -> list[Sent]:
    """The batch with events from before it, and of it, once more, anywhere behind their first delivery."""
    again = list(batch)
    for _ in range(data.draw(st.integers(0, 4), label="repeats")):
        repeated = data.draw(st.sampled_from(earlier + batch))
        first = again.index(repeated) + 1 if repeated in again else 0
        again.insert(data.draw(st.integers(first, len(again))), repeated)
    return again


async def check_twice(one: Database, other: Database, history: list[Sent], data: st.DataObject) -> None:
    await write(one, history)
    await fold(one)
    first: dict[UUID, Outcome] = {}
    earlier: list[Sent] = []
    async with AsyncExitStack() as processes:
        process = await processes.enter_async_context(pipeline(other))
        for batch in cut(history, data.draw(cuts(len(history)), label="cuts")):
            if data.draw(st.booleans(), label="restart"):
                await processes.aclose()
                process = await processes.enter_async_context(pipeline(other))
            delivered = with_repeats(batch, earlier, data)
            for sent, outcome in zip(delivered, await process.append(delivered), strict=True):
                known = first.setdefault(sent.id, outcome)
                assert outcome.position == known.position
                # What waited may have been decided meanwhile; nothing else is ever decided again.
                assert outcome.decision == known.decision or known.decision.verdict == "waiting"
            earlier += batch
    await write(other, history[::-1])
    await fold(other)
    async with tables(one) as once, tables(other) as twice:
        assert await twice.log() == await once.log() == [(s.id, s.stream, type(s.event).__name__) for s in history]
        assert await twice.decisions() == await once.decisions()
        assert await twice.hashes() == await once.hashes()


@FEW
@given(history=histories(), data=st.data())
async def test_delivering_twice_changes_nothing(empty_pair: Empty, history: list[Sent], data: st.DataObject) -> None:
    await check_twice(*await empty_pair(), history, data)


@pytest.mark.long
@MANY
@given(history=histories(max_size=250), data=st.data())
async def test_delivering_twice_changes_nothing_often(
    empty_pair: Empty, history: list[Sent], data: st.DataObject
) -> None:
    await check_twice(*await empty_pair(), history, data)
