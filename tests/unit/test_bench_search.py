"""The pure parts of the bench's searches: the runs, the right answers, and that a wrong one is seen."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # bench is run from the repository root and is not installed

from bench.expected import LIVE_RUNS, expected, live_run
from bench.population import METRICS, RARE, RARE_EVERY, Population, populate, small_runs
from bench.request import FIRST_NUMBER, metric_value
from bench.rows import MILLION_ROWS, SHAPE_ROWS
from bench.servers.events import events_of
from bench.shapes import HARD_SHAPES, ILIKE_SHAPES, SHAPES, Shape
from bench.writer import write_key

POPULATION = populate(3000)
LIVE = [f"{place:032x}" for place in range(LIVE_RUNS)]
PAGE, _, TWO_CLAUSES, TOP_10, THREE_CLAUSES = SHAPES
FILTERED = [shape for shape in (*SHAPES, *HARD_SHAPES, *ILIKE_SHAPES) if shape.where is not None]


def answer(shape: Shape) -> dict[str, Any]:
    """A right answer as a server gives it, int64 as text."""
    found = expected(shape, POPULATION, LIVE)
    runs = []
    for run in found.runs:
        metrics = run["metrics"] or {"m1": 0.5}
        runs.append({
            "info": {key: str(value) for key, value in run.items() if key not in ("metrics", "params", "tags")},
            "data": {
                "metrics": [{"key": key, "value": value, "step": 10} for key, value in metrics.items()],
                "params": [{"key": key, "value": value} for key, value in run["params"].items()],
                "tags": [{"key": "mlflow.runName", "value": "x"}]
                + [{"key": key, "value": value} for key, value in run["tags"].items()],
            },
        })  # fmt: skip
        if run["end_time"] is None:
            del runs[-1]["info"]["end_time"]
    return {"runs": runs, "next_page_token": "next"} if found.more else {"runs": runs}


def test_the_same_seed_gives_the_same_runs_and_another_one_other_ids() -> None:
    assert POPULATION.run(7) == populate(3000).run(7)
    ids = {POPULATION.run(number)["run_id"] for number in range(3000)}
    assert len(ids) == 3000
    assert all(len(run_id) == 32 for run_id in ids)
    assert ids.isdisjoint(small_runs(980).run(number)["run_id"] for number in range(980))


def test_one_run_in_fifty_thousand_has_the_rare_param() -> None:
    population = populate(2 * RARE_EVERY, ("m1",), ("p9",), ("t0",))
    assert np.flatnonzero(population.rare()).tolist() == [RARE_EVERY - 1, 2 * RARE_EVERY - 1]
    assert population.run(RARE_EVERY - 1)["params"] == {"p9": RARE}
    assert population.run(RARE_EVERY)["params"]["p9"].isdigit()


def test_answers_are_those_of_a_walk_through_all_runs() -> None:
    runs = [POPULATION.run(number) for number in range(3000)]

    def numbers(where: Callable[[dict[str, Any], dict[str, str], dict[str, str]], bool]) -> list[int]:
        return [n for n, run in enumerate(runs) if where(run["metrics"], run["params"], run["tags"])]

    two = numbers(lambda metrics, params, _: metrics["m1"] > 0.9 and params["p2"] == "5")
    three = numbers(lambda m, p, tags: m["m1"] > 0.5 and p["p2"] == "5" and tags["t1"] == "tag7")
    assert two
    assert three
    assert TWO_CLAUSES.matching(POPULATION).tolist() == two[::-1]
    assert THREE_CLAUSES.matching(POPULATION).tolist() == sorted(three, key=lambda n: runs[n]["metrics"]["m4"])
    top = sorted(range(3000), key=lambda n: runs[n]["metrics"]["m3"], reverse=True)
    assert TOP_10.matching(POPULATION)[:10].tolist() == top[:10]
    anti, impossible = HARD_SHAPES
    assert numbers(lambda m, p, t: m["m1"] > 0.5 and m["m_anti"] > 0.5) == anti.matching(POPULATION).tolist() == []
    assert impossible.matching(POPULATION).tolist() == []


def test_the_name_of_a_run_is_found_by_its_digits() -> None:
    _, by_name = ILIKE_SHAPES
    population = populate(200_000, ("m1",), ("p9",), ("t0",))
    assert by_name.matching(population).tolist() == [199_999, 99_999]


def test_what_is_written_meanwhile_changes_no_answer() -> None:
    values = [[metric_value(i, FIRST_NUMBER + n) for i in range(len(METRICS))] for n in range(1000)]
    zeros = np.zeros((1000, 10), dtype=np.uint8)
    written = Population(
        POPULATION.metrics, POPULATION.params, POPULATION.tags,
        POPULATION.ids[:1000], np.array(values), zeros, zeros[:, :3],
    )  # fmt: skip
    assert [write_key(i) for i in range(len(METRICS))] == list(METRICS)
    for shape in FILTERED:
        assert shape.matching(written).tolist() == []
    tenth = POPULATION.metric("m3")[TOP_10.matching(POPULATION)[9]]
    assert written.metric("m3").max() < tenth
    run = live_run(POPULATION, 0)
    assert (set(run["params"].values()), set(run["tags"].values())) == ({"0"}, {"tag0"})


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_right_answer_is_taken(shape: Shape) -> None:
    assert expected(shape, POPULATION, LIVE).wrong_in(answer(shape)) is None


def test_live_runs_come_first_in_a_page_and_the_newest_of_them_first() -> None:
    names = [run["info"]["run_name"] for run in answer(PAGE)["runs"]]
    assert names[:2] == ["live-19", "live-18"]
    assert names[19:21] == ["live-0", "run-2999"]
    assert len(names) == 100


def _without_last(found: dict[str, Any]) -> None:
    found["runs"].pop()


def _swapped(found: dict[str, Any]) -> None:
    found["runs"][50:52] = found["runs"][51:49:-1]


def _without_token(found: dict[str, Any]) -> None:
    del found["next_page_token"]


def _other_id(found: dict[str, Any]) -> None:
    found["runs"][0]["info"]["run_id"] = "0"


def _other_status(found: dict[str, Any]) -> None:
    found["runs"][-1]["info"]["status"] = "RUNNING"


def _other_value(found: dict[str, Any]) -> None:
    found["runs"][-1]["data"]["metrics"][3]["value"] += 1e-16


def _without_param(found: dict[str, Any]) -> None:
    found["runs"][-1]["data"]["params"].pop()


def _another_tag(found: dict[str, Any]) -> None:
    found["runs"][-1]["data"]["tags"].append({"key": "odd", "value": "1"})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without_last, "99 runs, at 99 none; not 100 runs, at 99 run-2920"),
        (_swapped, "at 50"),
        (_without_token, "no token for the next page"),
        (_other_id, "run_id of live-19"),
        (_other_status, "status of run-2920"),
        (_other_value, "metrics of run-2920"),
        (_without_param, "params of run-2920"),
        (_another_tag, "tags of run-2920"),
    ],
)
def test_a_wrong_answer_is_seen(change: Callable[[dict[str, Any]], None], said: str) -> None:
    found = copy.deepcopy(answer(PAGE))
    change(found)
    assert said in str(expected(PAGE, POPULATION, LIVE).wrong_in(found))


def test_an_answer_without_runs_is_wrong_unless_none_match() -> None:
    assert expected(PAGE, POPULATION, LIVE).wrong_in({}) is not None
    assert expected(HARD_SHAPES[0], POPULATION, LIVE).wrong_in({}) is None


def test_each_event_has_an_id_of_its_own_that_is_a_uuid_of_version_7() -> None:
    events = [event for number in range(1000) for event in events_of(POPULATION, number, 1)]
    ids = [UUID(event["id"]) for event in events]
    assert len(set(ids)) == 3000
    assert {(event_id.version, event_id.variant) for event_id in ids} == {(7, "specified in RFC 4122")}
    assert [event["type"] for event in events[:3]] == ["RunCreated", "RunLogged", "RunUpdated"]


def test_each_shape_has_a_row_of_its_own() -> None:
    assert [row.shape for row in SHAPE_ROWS] == list(SHAPES)
    assert [row.shape for row in MILLION_ROWS] == [*SHAPES, *HARD_SHAPES, *ILIKE_SHAPES]
