"""Laws of the whole write path on PostgreSQL: the content does not depend on how the log was cut and folded."""

from __future__ import annotations

import math
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_services.adapters.postgres import Database
from runstream_services.projector import decider, service
from tests.laws.conftest import Empty
from tests.laws.effort import FEW, FEWER, MANY
from tests.laws.histories import cut, cuts, histories, meeting_points, meeting_uses
from tests.laws.model import Model, Run, in_history_order
from tests.pipeline import Tables, fold, pairs, pipeline, tables, write
from tests.sent import Sent


def same(value: float) -> float | str:
    """NaN that equals itself, and one zero: what a metric's value is compared by."""
    return "NaN" if math.isnan(value) else value


async def check_is_model(found: Tables, model: Model) -> None:
    """Compare everything that the endpoints show with the model."""
    for number, known in model.experiments.items():
        row = await found.experiment(number)
        assert row is not None
        shown = (row["name"], row["artifact_location"], row["creation_time"], row["last_update_time"], row["deleted"])
        assert shown == (known.name, known.location, known.created, known.updated, known.deleted)
        assert dict(zip(row["tag_keys"] or (), row["tag_values"] or (), strict=True)) == known.tags
        summaries = await found.summaries(number)
        assert len(summaries) == len(known.summaries)
        assert set(summaries) == known.summaries
    assert await found.experiment(len(model.experiments)) is None
    for run_id, run in model.runs.items():
        await check_is_run(found, run_id, run)
        row = await found.run(run_id)
        assert row is not None
        assert row["inputs"] == model.inputs(run)
        assert row["outputs"] == model.outputs(run)
    assert await found.verdicts() == {at: tuple(verdict) for at, verdict in model.verdicts.items()}


async def check_is_run(found: Tables, run_id: str, run: Run) -> None:
    shown = await found.run(run_id)
    assert shown is not None
    info = shown["info"]
    assert [info["run_id"], info["run_name"], info["experiment_id"], info["user_id"], info["status"]] == [
        *(run_id, run.name, str(run.experiment_id), run.user_id, run.status)
    ]
    assert (info["start_time"], info.get("end_time")) == (run.start, run.end or None)  # 0 is not shown
    assert info["lifecycle_stage"] == ("deleted" if run.deleted else "active")
    assert pairs(shown, "params") == run.params
    assert pairs(shown, "tags") == run.tags
    latest = {
        metric["key"]: (metric["timestamp"], metric["step"], same(float(metric["value"])))
        for metric in shown["data"].get("metrics", ())
    }
    assert latest == {key: (p.timestamp, p.step, same(p.value)) for key, p in run.latest.items()}
    for key, logged in run.points.items():
        shown_points = [(timestamp, step, same(value)) for timestamp, step, value in await found.points(run_id, key)]
        assert shown_points == [(p.timestamp, p.step, same(p.value)) for p in in_history_order(logged)]


async def check_cuts(one: Database, other: Database, history: list[Sent], data: st.DataObject) -> None:
    size = len(history)
    with mock.patch.object(decider, "CACHED", data.draw(st.sampled_from([0, 3, 50_000]), label="cached")):
        async with pipeline(one) as p, p.folding():
            for batch in cut(history, data.draw(cuts(size), label="cuts of one")):
                await p.append(batch)
                if data.draw(st.booleans(), label="fold here"):
                    await p.folded()
            await p.folded()
    with mock.patch.object(service, "CHANGE_EVENTS", data.draw(st.integers(1, size), label="events of a change")):
        # The other log is decided in other batches, and folded from the database by a projector that comes later.
        await write(other, *cut(history, data.draw(cuts(size), label="cuts of the other")))
        await fold(other)
    async with tables(one) as first, tables(other) as second:
        assert await first.log() == await second.log() == [(s.id, s.stream, type(s.event).__name__) for s in history]
        assert await first.decisions() == await second.decisions()
        await check_is_model(first, Model().log(history))
        assert await first.hashes() == await second.hashes()


@FEW
@given(history=histories(), data=st.data())
async def test_content_is_independent_of_how_the_log_is_cut(
    empty_pair: Empty, history: list[Sent], data: st.DataObject
) -> None:
    await check_cuts(*await empty_pair(), history, data)


@FEW
@given(history=meeting_points(), data=st.data())
async def test_equal_points_are_one_and_the_first_of_the_greatest_is_the_latest(
    empty_pair: Empty, history: list[Sent], data: st.DataObject
) -> None:
    await check_cuts(*await empty_pair(), history, data)


@FEWER
@given(history=meeting_uses(), data=st.data())
async def test_who_names_a_dataset_first_describes_it_and_a_run_uses_it_once(
    empty_pair: Empty, history: list[Sent], data: st.DataObject
) -> None:
    await check_cuts(*await empty_pair(), history, data)


@pytest.mark.long
@MANY
@given(history=histories(max_size=250) | meeting_points() | meeting_uses(), data=st.data())
async def test_content_is_independent_of_how_the_log_is_cut_often(
    empty_pair: Empty, history: list[Sent], data: st.DataObject
) -> None:
    await check_cuts(*await empty_pair(), history, data)
