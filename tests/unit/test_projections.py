"""What projections have in common, and SQL as data."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_projections import chunk, decision_tables, metric_blocks
from runstream_projections.catalogue import PROJECTIONS
from runstream_projections.chunk import encode
from runstream_projections.latest_metrics import latest
from runstream_projections.metric_points import chunk_of, from_columns
from runstream_projections.projection import Batch, Effective, Projection, Row, Statement, together
from runstream_projections.tags import appended
from runstream_schemas.columns import MetricColumns, columns_from_points
from runstream_schemas.events import EVENT_TYPES, RunLogged
from runstream_services.adapters.postgres_projections import ddl


@pytest.mark.parametrize("projection", PROJECTIONS.values(), ids=list(PROJECTIONS))
def test_a_projection_makes_the_tables_that_it_names_with_its_version(projection: Projection) -> None:
    made = set(re.findall(r"create table (\w+)", ddl(projection.name, 7)))
    assert made == {f"{table}_v7" for table in projection.tables}
    assert "_vN" not in ddl(projection.name, 7)
    assert projection.handles <= set(EVENT_TYPES.values())


def test_the_decisions_make_theirs() -> None:
    made = set(re.findall(r"create table (\w+)", ddl(decision_tables.NAME, 7)))
    assert made == {f"{table}_v7" for table in decision_tables.TABLES}


@pytest.mark.parametrize("projection", PROJECTIONS.values(), ids=list(PROJECTIONS))
def test_nothing_to_fold_is_nothing_to_do(projection: Projection) -> None:
    assert projection.fold(Batch([]), "_v1") == []
    assert projection.fold(Batch([Effective(1, "run/r", RunLogged())]), "_v1") == []


def test_statements_together_keep_their_arguments_apart() -> None:
    whole = together(
        "f($1, $2)",
        ("a", "b"),
        [Statement("insert into t values ($1, $2)", (1, 2)), Statement("delete from t where n = $1 or m = $1", (3,))],
    )
    assert whole.sql == (
        "with s0 as (insert into t values ($3, $4)), s1 as (delete from t where n = $5 or m = $5) select f($1, $2)"
    )
    assert whole.args == ("a", "b", 1, 2, 3)
    assert together("f($1)", ("a",), []) == Statement("select f($1)", ("a",))


@pytest.mark.parametrize(
    ("history", "entry", "expected"),
    [
        ("[]", "{}", "[{}]"),
        ("[{}]", '{"a": 1}', '[{}, {"a": 1}]'),
        ("", "{}", ""),
        ("[", "{}", "["),
        ('{"a": [1]', "{}", '{"a": [1]'),
        ("[]", "{" + "x" * 7996 + "}", "[{" + "x" * 7996 + "}]"),
        ("[]", "{" + "x" * 7997 + "}", "[{" + "x" * 7997 + "}"),
        ("[]", "{" + "]" * 8000 + "}", "[{"),
        ("[{" + "x" * 7996 + "}]", "{}", "[{" + "x" * 7996 + "},"),
    ],
    ids=["first", "second", "empty", "open", "no list", "full", "over by one", "brackets", "full before"],
)
def test_a_model_is_listed_behind_those_before_it(history: str, entry: str, expected: str) -> None:
    assert appended(history, entry) == expected


@given(st.lists(st.text("{}[], x", min_size=1), min_size=1), st.sampled_from([0, 7990, 7994, 7995, 7996, 7997]))
def test_models_that_are_listed_at_once_make_what_they_make_one_by_one(entries: list[str], filled: int) -> None:
    history = f"[{'x' * filled}]"
    one_by_one = history
    for entry in entries:
        one_by_one = appended(one_by_one, entry)
    assert appended(history, ", ".join(entries)) == one_by_one


def one_key(*points: tuple[int, int, float], model: str | None = None) -> MetricColumns:
    """Points (step, timestamp, value) of one key."""
    steps, timestamps, values = map(list, zip(*points, strict=True))
    return MetricColumns(
        keys=["k"],
        model_ids=None if model is None else [model],
        counts=[len(points)],
        steps=steps,
        timestamps=timestamps,
        values=values,
    )


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([one_key((1, 1, 1.0)), one_key((2, 0, 0.5))], (2, 0, 0.5)),
        ([one_key((2, 0, 0.5)), one_key((1, 9, 9.0))], (2, 0, 0.5)),
        ([one_key((2, 1, 0.5), (2, 3, 0.1), (2, 2, 9.0))], (2, 3, 0.1)),
        ([one_key((2, 1, 0.5), (2, 1, 0.7), (2, 1, 0.6))], (2, 1, 0.7)),
        ([one_key((2, 1, -0.5)), one_key((2, 1, math.nan))], (2, 1, math.nan)),
        ([one_key((2, 1, 0.5)), one_key((2, 1, math.nan))], (2, 1, 0.5)),
        ([one_key((2, 1, math.nan)), one_key((2, 1, 0.0))], (2, 1, math.nan)),
        ([one_key((2, 1, 0.0)), one_key((2, 1, -0.0))], (2, 1, 0.0)),
        ([one_key((-5, 1, 1.0)), one_key((-(1 << 63), 2, 2.0))], (-5, 1, 1.0)),
        ([one_key((2, 1, math.inf)), one_key((2, 1, 1e308))], (2, 1, math.inf)),
        # Of several series of a key the first in log order, not that of the series which was seen first.
        ([one_key((0, 0, 1.0)), one_key((2, 1, math.nan), model="m"), one_key((2, 1, 0.0))], (2, 1, math.nan)),
    ],
)
def test_the_latest_is_the_first_of_the_greatest_by_step_time_and_value(
    calls: list[MetricColumns], expected: tuple[int, int, float]
) -> None:
    [(key, value, step, timestamp)] = latest(chunk_of(calls), calls)
    assert key == "k"
    assert repr((step, timestamp, value)) == repr(expected)


def test_a_run_may_have_more_points_than_a_chunk_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(*stretches: range) -> list[Row]:
        chunks = [from_columns(columns_from_points(["k"] * len(s), [*s], [*s], [*map(float, s)])) for s in stretches]
        return [("r", at, 0, encode(part, 1)) for at, part in enumerate(chunks)]

    apart, otherwise = rows(range(6), range(6, 12)), rows(range(3, 9), range(3), range(9, 12))
    monkeypatch.setattr(chunk, "MAX_POINTS", 10)
    assert metric_blocks.canonical(apart) == metric_blocks.canonical(otherwise)
    assert metric_blocks.canonical(apart) != metric_blocks.canonical(apart[:1])
