"""Law of rebuilding: tables made again from the log equal the live ones, while these go on, and after a kill."""

from __future__ import annotations

import asyncio
from unittest import mock
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_projections import decision_tables
from runstream_projections.catalogue import PROJECTIONS
from runstream_services.adapters.postgres import Database
from runstream_services.projector import service
from runstream_services.projector.rebuild import Progress, Rebuild
from runstream_services.projector.redecide import redecide
from runstream_services.projector.verify import verify_projection
from tests.laws.conftest import Empty
from tests.laws.effort import FEWER, MANY
from tests.laws.histories import cut, cuts, histories
from tests.laws.model import Model
from tests.laws.test_folding_laws import check_is_model
from tests.pipeline import fold, pipeline, tables, write
from tests.sent import Sent


async def rebuilt(database: Database, name: str, killed_after: int) -> tuple[int, list[Progress]]:
    """Rebuild a projection, killed once after so many steps (0: not), and return its version and all the progress."""
    progress: list[Progress] = []
    steps = asyncio.Event()

    def report(step: Progress) -> None:
        progress.append(step)
        if len(progress) == killed_after:
            steps.set()

    if killed_after:
        first = asyncio.create_task(Rebuild(database, name, str(uuid4()), report).run())
        waiting = asyncio.create_task(steps.wait())
        await asyncio.wait({first, waiting}, return_when=asyncio.FIRST_COMPLETED)
        for task in (waiting, first):
            task.cancel()
        await asyncio.gather(waiting, first, return_exceptions=True)
    return await Rebuild(database, name, str(uuid4()), report).run(), progress


async def check_rebuild(one: Database, other: Database, history: list[Sent], data: st.DataObject) -> None:
    names = data.draw(st.sampled_from([list(PROJECTIONS), *([name] for name in PROJECTIONS)]), label="rebuilt")
    kills = [data.draw(st.integers(0, 6), label=f"kill {name} after steps") for name in names]
    before, during, after = cut_in_three(history, data)
    await write(one, history)
    await fold(one)
    with mock.patch.object(service, "CHANGE_EVENTS", data.draw(st.integers(3, 20), label="events of a step")):
        async with pipeline(other) as live, live.folding():
            await live.append(before)
            rebuilds = [asyncio.create_task(rebuilt(other, n, k)) for n, k in zip(names, kills, strict=True)]
            for batch in cut(during, data.draw(cuts(max(2, len(during))), label="cuts")):
                await live.append(batch)
            made = dict(zip(names, await asyncio.gather(*rebuilds), strict=True))
            await live.append(after)
            suffixes = await live.folded()
    async with tables(one) as first, tables(other) as second:
        assert second.versions == first.versions | {name: version for name, (version, _) in made.items()}
        assert suffixes == {name: f"_v{second.versions[name]}" for name in PROJECTIONS}
        assert await second.hashes() == await first.hashes()
    for version, progress in made.values():
        # A rebuild that was killed goes on where it was, in the same version; or it had come to its end.
        positions = [step.position for step in progress if step.version == version]
        assert positions == sorted(set(positions))


def cut_in_three(history: list[Sent], data: st.DataObject) -> tuple[list[Sent], list[Sent], list[Sent]]:
    start = data.draw(st.integers(1, len(history) - 2), label="before")
    stop = data.draw(st.integers(start + 1, len(history) - 1), label="during")
    return history[:start], history[start:stop], history[stop:]


@FEWER
@given(history=histories(), data=st.data())
async def test_rebuilt_tables_equal_the_live_ones_and_take_their_place(
    empty_pair: Empty, history: list[Sent], data: st.DataObject
) -> None:
    await check_rebuild(*await empty_pair(), history, data)


async def check_verify(database: Database, history: list[Sent], data: st.DataObject) -> None:
    """Each projection, and the decisions, made again beside a live server that goes on logging and folding."""
    before, during, after = cut_in_three(history, data)
    async with pipeline(database) as live, live.folding():
        await live.append(before)
        await live.folded()
        verifying = [
            asyncio.create_task(verify_projection(database, name, str(uuid4()), lambda step: None))
            for name in (*PROJECTIONS, decision_tables.NAME)
        ]
        await live.append(during)
        for verified in await asyncio.gather(*verifying):
            assert verified.live == verified.rebuilt, verified.name
        reached = await redecide(database, str(uuid4()), lambda step: None, accept=False)
        assert reached == (len(before) + len(during), 0, [], True)
        await live.append(after)
        await live.folded()
    async with tables(database) as found:
        # Copies for a comparison are gone; decisions that are equal take the place of the old ones.
        left = await found.connection.fetch("select name, state from projections where state <> 'live'")
        assert [tuple(row) for row in left] == [("decisions", "retired")]
        assert found.versions["decisions"] == 2
        await check_is_model(found, Model().log(history))


@FEWER
@given(history=histories(), data=st.data())
async def test_each_projection_alone_and_the_decisions_are_what_the_log_says(
    empty_pair: Empty, history: list[Sent], data: st.DataObject
) -> None:
    database, _ = await empty_pair()
    await check_verify(database, history, data)


@pytest.mark.long
@MANY
@given(history=histories(max_size=200), data=st.data())
async def test_rebuilt_tables_equal_the_live_ones_often(
    empty_pair: Empty, history: list[Sent], data: st.DataObject
) -> None:
    one, other = await empty_pair()
    await check_rebuild(one, other, history, data)
    one, _ = await empty_pair()
    await check_verify(one, history, data)
