"""Metric columns hold exactly the points that were logged, series by series, in the order of each."""

from __future__ import annotations

import math
import struct
from collections import defaultdict
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_schemas.columns import MetricColumns, columns_from_points
from runstream_schemas.errors import Undecodable


class Point(NamedTuple):
    key: str
    step: int
    timestamp: int
    value: float
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None


INT64 = st.integers(-(2**63), 2**63 - 1)
NAMES = st.sampled_from([None, None, "x", "y"])
POINTS = st.lists(
    st.builds(
        Point,
        key=st.sampled_from("abcdefgh"),
        step=st.sampled_from([0, 1, -(2**63)]) | INT64,
        timestamp=st.sampled_from([0, 7]) | st.integers(0, 2**63 - 1),
        value=st.sampled_from([0.0, -0.0, 1.5, math.nan, math.inf, -math.inf]) | st.floats(),
        model_id=NAMES,
        dataset_name=NAMES,
        dataset_digest=NAMES,
    ),
    min_size=1,
    max_size=12,
)


def columns_of(points: list[Point], *, origins: bool = True) -> MetricColumns:
    keys, steps, timestamps, values, *rest = map(list, zip(*points, strict=True))
    names: dict[str, Any] = dict(zip(("model_ids", "dataset_names", "dataset_digests"), rest, strict=True))
    used = {name: column for name, column in names.items() if origins and any(column)}
    return columns_from_points(keys, steps, timestamps, values, **used)


def points_of(columns: MetricColumns) -> list[Point]:
    """The points one by one, by the definition of the columns."""
    total = len(columns)
    spread = [
        column * total if len(column) == 1 else column for column in (columns.steps, columns.timestamps, columns.values)
    ]
    nothing: list[str | None] = [None] * len(columns.keys)
    series = zip(
        columns.keys,
        columns.model_ids or nothing,
        columns.dataset_names or nothing,
        columns.dataset_digests or nothing,
        columns.counts or [1] * len(columns.keys),
        strict=True,
    )
    repeated = [(key, *origin) for key, *origin, count in series for _ in range(count)]
    return [
        Point(head[0], step, timestamp, float(value), *head[1:])
        for head, step, timestamp, value in zip(repeated, *spread, strict=True)
    ]


def bits(points: list[Point]) -> list[tuple[object, ...]]:
    """Points comparable to the last bit, all NaN being one."""
    return [
        (*point[:3], "nan" if math.isnan(point.value) else struct.pack("d", point.value), *point[4:])
        for point in points
    ]


def by_series(points: list[Point]) -> list[Point]:
    series: dict[tuple[object, ...], list[Point]] = defaultdict(list)
    for point in points:
        series[point.key, point.model_id, point.dataset_name, point.dataset_digest].append(point)
    return [point for found in series.values() for point in found]


@given(POINTS)
def test_columns_hold_the_points_by_series(points: list[Point]) -> None:
    columns = columns_of(points)
    columns.check()
    assert len(columns) == len(points)
    assert bits(points_of(columns)) == bits(by_series(points))


@given(POINTS)
def test_columns_without_origins_hold_the_points_by_key(points: list[Point]) -> None:
    points = [Point(*point[:4]) for point in points]
    columns = columns_of(points, origins=False)
    columns.check()
    assert (columns.model_ids, columns.dataset_names, columns.dataset_digests) == (None, None, None)
    assert bits(points_of(columns)) == bits(by_series(points))


def test_one_point_per_key_needs_no_counts() -> None:
    columns = columns_from_points(["b", "a"], [1, 2], [5, 5], [0.5, 0.25])
    assert columns == MetricColumns(keys=["b", "a"], steps=[1, 2], timestamps=[5], values=[0.5, 0.25])


def test_points_of_one_key_are_one_series() -> None:
    columns = columns_from_points(["a", "a", "a"], [3, 1, 2], [7, 8, 9], [1.0, 1.0, 1.0])
    assert columns == MetricColumns(keys=["a"], counts=[3], steps=[3, 1, 2], timestamps=[7, 8, 9], values=[1.0])


def test_points_are_grouped_and_keep_their_order() -> None:
    columns = columns_from_points(["a", "b", "a"], [2, 0, 1], [1, 2, 3], [0.1, 0.2, 0.3])
    assert columns == MetricColumns(
        keys=["a", "b"], counts=[2, 1], steps=[2, 1, 0], timestamps=[1, 3, 2], values=[0.1, 0.3, 0.2]
    )


def test_one_key_of_two_models_is_two_series() -> None:
    columns = columns_from_points(["a", "a"], [0, 0], [1, 1], [0.1, 0.2], model_ids=["m", None])
    assert columns == MetricColumns(
        keys=["a", "a"], model_ids=["m", None], steps=[0], timestamps=[1], values=[0.1, 0.2]
    )


@pytest.mark.parametrize(
    ("values", "held"),
    [
        ([0.0, 0.0], 1),
        ([-0.0, -0.0], 1),
        ([0.0, -0.0], 2),
        ([0.0, -0.0, 0.0], 3),
        ([1.0, 2.0, 1.0], 3),
        ([math.inf, math.inf], 1),
        ([float("nan"), float("nan")], 1),
        ([math.nan, 1.0, math.nan], 3),
    ],
)
def test_values_are_one_entry_only_where_all_are_the_same_double(values: list[float], held: int) -> None:
    columns = columns_from_points([str(at) for at in range(len(values))], [0] * len(values), [0] * len(values), values)
    assert len(columns.values) == held
    assert len(columns) == len(values)


def decode(body: str) -> MetricColumns:
    return msgspec.json.decode(body, type=MetricColumns)


def test_columns_decoded_from_the_wire_are_checked() -> None:
    columns = decode('{"keys":["a","b"],"counts":[1,2],"steps":[1],"timestamps":[1,2,3],"values":["NaN",1,-0.0]}')
    columns.check()
    assert len(columns) == 3
    assert columns.values == ["NaN", 1.0, -0.0]


@pytest.mark.parametrize(
    "body",
    [
        '{"keys":[],"steps":[],"timestamps":[],"values":[]}',
        '{"keys":[],"steps":[1],"timestamps":[1],"values":[1]}',
        '{"keys":["a"],"counts":[1,1],"steps":[1],"timestamps":[1],"values":[1]}',
        '{"keys":["a","b"],"model_ids":["m"],"steps":[1],"timestamps":[1],"values":[1]}',
        '{"keys":["a","b","c"],"steps":[1,2],"timestamps":[1],"values":[1]}',
        '{"keys":["a","b","c"],"steps":[1],"timestamps":[1,2,3,4],"values":[1]}',
        '{"keys":["a"],"steps":[1],"timestamps":[1],"values":[]}',
        '{"keys":["a","a"],"steps":[1],"timestamps":[1],"values":[1]}',
        '{"keys":["a","a"],"model_ids":["m","m"],"steps":[1],"timestamps":[1],"values":[1]}',
        '{"keys":["a"],"steps":[1],"timestamps":[1],"values":["nan"]}',
    ],
)
def test_columns_that_do_not_fit_are_undecodable(body: str) -> None:
    columns = decode(body)
    with pytest.raises(Undecodable):
        columns.check()


@pytest.mark.parametrize(
    "body",
    [
        '{"keys":["a"],"counts":[0],"steps":[1],"timestamps":[1],"values":[1]}',
        '{"keys":["a"],"steps":[9223372036854775808],"timestamps":[1],"values":[1]}',
        '{"keys":["a"],"steps":[1],"timestamps":[-1],"values":[1]}',
        '{"keys":["a"],"steps":[1],"timestamps":[1],"values":[1e400]}',
        '{"keys":["a"],"steps":[1],"timestamps":[1],"values":[1],"other":1}',
    ],
)
def test_columns_out_of_range_are_not_decoded(body: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(body)
