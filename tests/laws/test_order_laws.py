"""Law of order: several writers of a run, in any interleaving that keeps each one's order, lose nothing.

What does not depend on the order (points, equal params, tags that nobody contradicts) is the same in each of them.
Events come before the creation of their run, and runs before the experiment that they name.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_schemas.events import Event, ExperimentEnsured, RunCreated, RunLogged, RunUpdated
from runstream_schemas.ids import EXPERIMENTS, run_stream
from runstream_services.adapters.postgres import Database
from tests.laws.conftest import Empty
from tests.laws.effort import FEW, MANY
from tests.laws.histories import ENSURING, KEYS, NAMES, RUNS, cut, cuts, of_points, series
from tests.laws.model import Model
from tests.laws.test_folding_laws import check_is_model
from tests.pipeline import Tables, fold, tables, write
from tests.sent import Sent, event_id

points = st.lists(
    st.tuples(series, st.integers(0, 3), st.integers(0, 3), st.sampled_from([1.0, -2.5, float("inf")])),
    min_size=1,
    max_size=4,
)


@st.composite
def writers(draw: st.DrawFn) -> list[list[Sent]]:
    """What each of several ranks sends: one creates the experiments, one the runs, all log to all runs."""
    numbers = iter(range(1_000_000))

    def sent(stream: str, event: Event) -> Sent:
        return Sent(event_id(next(numbers)), stream, event)

    ensured = [
        Sent(chosen, EXPERIMENTS, ExperimentEnsured(name=name, created_at=1))
        for chosen, name in zip(ENSURING[:2], NAMES[:2], strict=True)
    ]
    created = [
        sent(run_stream(run), RunCreated(name=f"run {run}", start_time=1, ensured_by=ENSURING[at % 2]))
        for at, run in enumerate(RUNS)
    ]
    created += [sent(run_stream(run), RunUpdated(status="FINISHED", end_time=5)) for run in RUNS]
    ranks = []
    for _ in range(draw(st.integers(1, 4))):
        rank = []
        for run, key, logged in draw(
            st.lists(st.tuples(st.sampled_from(RUNS), st.sampled_from(KEYS), points), max_size=15)
        ):
            event = RunLogged(metrics=of_points(logged), params={key: f"{key}'s"}, tags={key: f"{key}'s tag"})
            rank.append(sent(run_stream(run), event))
        ranks.append(rank)
    return [ensured, created, *ranks]


def interleaved(ranks: list[list[Sent]], seed: int) -> list[Sent]:
    """One log of all ranks' events, each rank's in its own order."""
    whose = [number for number, rank in enumerate(ranks) for _ in rank]
    random.Random(seed).shuffle(whose)
    following = [iter(rank) for rank in ranks]
    return [next(following[number]) for number in whose]


async def shown(found: Tables) -> dict[str, Any]:
    """What does not depend on the order: runs without their experiments' numbers."""
    runs = {}
    for run_id in RUNS:
        run = await found.run(run_id)
        assert run is not None, "a run is lost"
        info = run["info"]
        info["experiment"] = (await found.experiment(int(info.pop("experiment_id"))) or {})["name"]
        info["artifact_uri"] = info["artifact_uri"].partition(run_id)[1:]  # the experiment's number is before it
        runs[run_id] = run, {key: await found.points(run_id, key) for key in KEYS}
    return runs


async def check_order(one: Database, other: Database, ranks: list[list[Sent]], data: st.DataObject) -> None:
    seen = []
    for database in (one, other):
        history = interleaved(ranks, data.draw(st.integers(0, 2**32), label="order"))
        await write(database, *cut(history, data.draw(cuts(len(history)), label="cuts")))
        await fold(database)
        async with tables(database) as found:
            verdicts = await found.verdicts()
            assert {verdict for verdict, _, _ in verdicts.values()} == {"accepted"}
            await check_is_model(found, Model().log(history))
            stored = [await rows(found, *table) for table in WITH_EXPERIMENTS]
            seen.append((await shown(found), stored, (await found.hashes())["metric_blocks"]))
    assert seen[0] == seen[1]


#: Tables whose rows are the same but for their experiments' numbers, each with its projection.
WITH_EXPERIMENTS = (("params", "runs"), ("tags", "runs"), ("latest_metrics", "latest_metrics"))


async def rows(found: Tables, table: str, projection: str) -> list[tuple[Any, ...]]:
    """All rows of a table, each with the name of its experiment in place of the number."""
    query = (
        f"select t.*, e.name as experiment from {table}{found.suffixes[projection]} t "
        f"join experiments{found.suffixes['experiments']} e using (experiment_id) order by run_id, key"
    )
    return [
        tuple(value for column, value in row.items() if column != "experiment_id")
        for row in await found.connection.fetch(query)
    ]


@FEW
@given(ranks=writers(), data=st.data())
async def test_no_order_of_several_writers_loses_anything(
    empty_pair: Empty, ranks: list[list[Sent]], data: st.DataObject
) -> None:
    await check_order(*await empty_pair(), ranks, data)


@pytest.mark.long
@MANY
@given(ranks=writers(), data=st.data())
async def test_no_order_of_several_writers_loses_anything_often(
    empty_pair: Empty, ranks: list[list[Sent]], data: st.DataObject
) -> None:
    await check_order(*await empty_pair(), ranks, data)
