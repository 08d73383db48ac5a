"""Law of compaction on PostgreSQL: the content stays as it was, rows per key are bounded, and folding goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_projections import compaction
from runstream_schemas.errors import CheckpointMoved
from runstream_services.adapters.postgres import Database, Line
from runstream_services.projector.compactor import Compactor
from tests.laws.conftest import Empty
from tests.laws.effort import FEW, MANY
from tests.laws.histories import RUNS, cut, meeting_points
from tests.laws.model import Model
from tests.laws.test_folding_laws import check_is_run
from tests.pipeline import Pipeline, Tables, fold, pipeline, tables, write
from tests.sent import Sent

RUN = RUNS[0]
#: So small that a history of tens of events makes several levels, and groups that are closed for good.
SMALL = {"TAIL_ROWS": 3, "FANOUT": 2, "MERGE_POINTS": 16}


@contextmanager
def small_groups() -> Iterator[None]:
    with ExitStack() as patches:
        for name, value in SMALL.items():
            patches.enter_context(mock.patch.object(compaction, name, value))
        yield


async def compacted(p: Pipeline, *, idle: bool) -> None:
    """Compact the run, as two processes at once would: one of them may find that the other was quicker."""
    lines = [Line(p.database, durable=False) for _ in range(2)]
    compactors = [
        Compactor(line, p.owner, lambda: p.projector.standing("metric_blocks"), time.monotonic) for line in lines
    ]
    ended = await asyncio.gather(
        *(compactor.compact(RUN, p.held("metric_blocks"), idle=idle) for compactor in compactors),
        return_exceptions=True,
    )
    for line in lines:
        await line.close()
    assert all(error is None or isinstance(error, CheckpointMoved) for error in ended), ended


async def rows_of(found: Tables) -> tuple[int, list[int]]:
    """How many tail rows the run has, and the points of its blocks."""
    tail = await found.connection.fetchval("select count(*) from metric_tail_v1 where run_id = $1", RUN)
    blocks = await found.connection.fetch("select points from metric_blocks_v1 where run_id = $1", RUN)
    return tail, [row["points"] for row in blocks]


async def check_compaction(one: Database, other: Database, history: list[Sent], data: st.DataObject) -> None:
    with small_groups():
        async with pipeline(one) as p, p.folding():
            logged: list[Sent] = []
            for batch in cut(history, list(range(1, len(history)))):
                logged += batch
                await p.append(batch)
                await p.folded()
                if data.draw(st.booleans(), label="compact here"):
                    # Meanwhile the next events are folded, and the run is read.
                    compacting = asyncio.create_task(compacted(p, idle=data.draw(st.booleans(), label="idle")))
                    async with tables(one) as found:
                        while not compacting.done():
                            if (run := Model().log(logged).runs.get(RUN)) is not None:
                                await check_is_run(found, RUN, run)
                            await asyncio.sleep(0)
                    await compacting
            await compacted(p, idle=False)
            async with tables(one) as found:
                assert (await rows_of(found))[0] < SMALL["TAIL_ROWS"]
            await compacted(p, idle=True)
    await write(other, history)
    await fold(other)
    async with tables(one) as found, tables(other) as never_compacted:
        assert await found.hashes() == await never_compacted.hashes()
        tail, blocks = await rows_of(found)
        # An older row is rewritten only for a fourth of its points, and there are at most 48 different points.
        assert (tail, len(blocks) <= 3) == (0, True)


@FEW
@given(history=meeting_points(), data=st.data())
async def test_compaction_leaves_the_content_and_bounds_the_rows(
    empty_pair: Empty, history: list[Sent], data: st.DataObject
) -> None:
    await check_compaction(*await empty_pair(), history, data)


@pytest.mark.long
@MANY
@given(history=meeting_points(max_calls=80), data=st.data())
async def test_compaction_leaves_the_content_and_bounds_the_rows_often(
    empty_pair: Empty, history: list[Sent], data: st.DataObject
) -> None:
    await check_compaction(*await empty_pair(), history, data)
