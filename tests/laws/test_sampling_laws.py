"""Laws of samples and of summaries, against a model that walks points one by one."""

from __future__ import annotations

import math
from itertools import groupby
from typing import NamedTuple

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from runstream_projections.chunk import Chunk, Points, Series
from runstream_projections.pyramid import SUMMARY_BYTES, Outlines, locate, summarise
from runstream_projections.sampling import (
    PER_BUCKET,
    TOP,
    by_step,
    even_ranks,
    extremes,
    level_for,
    nan_as_zero,
    within,
)


class Point(NamedTuple):
    step: int
    timestamp: int
    value: float

    @property
    def place(self) -> tuple[int, int, bool, float]:
        nan = math.isnan(self.value)
        return self.step, self.timestamp, nan, 0.0 if nan else self.value


STEPS = st.integers(-3, 3) | st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(0, 5000)
TIMES = st.integers(0, 3) | st.integers(0, (1 << 63) - 1)
VALUES = st.sampled_from([math.nan, 0.0, -0.0, 1.0, math.inf, -math.inf]) | st.floats(width=64)
POINTS = st.lists(st.builds(Point, STEPS, TIMES, VALUES), max_size=30)


def columns(points: list[Point]) -> Points:
    return Points(
        np.array([point.step for point in points], np.int64),
        np.array([point.timestamp for point in points], np.int64),
        np.array([point.value for point in points], np.float64),
    )


def listed(points: Points) -> list[Point]:
    return [Point(*row) for row in zip(*(column.tolist() for column in points), strict=True)]


def places(points: list[Point]) -> list[tuple[int, int, bool, float]]:
    return [point.place for point in points]


def sorted_unique(points: list[Point]) -> list[Point]:
    return [next(equal) for _, equal in groupby(sorted(points, key=lambda p: p.place), key=lambda p: p.place)]


def buckets(points: list[Point], level: int) -> list[list[Point]]:
    def number(point: Point) -> int:
        return ((point.step + 2**63) * 2**64 + point.timestamp) // 2**level

    return [list(members) for _, members in groupby(points, key=number)]


def outstanding(bucket: list[Point]) -> list[Point]:
    numbers = [point for point in bucket if not math.isnan(point.value)]
    kept = [bucket[0], bucket[-1], *[point for point in bucket if math.isnan(point.value)][:1]]
    if numbers:
        kept += [min(numbers, key=lambda p: p.value), max(numbers, key=lambda p: p.value)]
    return sorted_unique(kept)


@given(POINTS)
def test_points_by_step_are_the_model(points: list[Point]) -> None:
    assert places(listed(by_step(columns(points)))) == places(sorted_unique(points))


@given(POINTS, STEPS, STEPS)
def test_a_range_of_steps_holds_its_ends(points: list[Point], low: int, high: int) -> None:
    found = listed(within(columns(points), low, high))
    assert places(found) == places([point for point in points if low <= point.step <= high])


@given(POINTS)
def test_nan_is_sorted_as_the_zero_after_zero(points: list[Point]) -> None:
    def stock(point: Point) -> tuple[int, int, float, bool]:
        return point.step, point.timestamp, point.place[3], point.place[2]

    found = listed(nan_as_zero(by_step(columns(points))))
    assert places(found) == places(sorted(sorted_unique(points), key=stock))


@given(st.integers(0, 300), st.integers(1, 60))
def test_even_ranks_are_the_first_of_equal_parts_and_the_very_last(total: int, most: int) -> None:
    parts: list[list[int]] = []
    left = list(range(total))
    for part in range(min(most, total)):
        size = total // most + (part < total % most)
        parts, left = [*parts, left[:size]], left[size:]
    expected = [part[0] for part in parts]
    if expected:
        expected[-1] = total - 1
    assert even_ranks(total, most).tolist() == expected


@given(POINTS, st.integers(0, TOP))
def test_extremes_are_those_of_each_bucket(points: list[Point], level: int) -> None:
    whole = sorted_unique(points)
    found = listed(extremes(columns(whole), level))
    assert places(found) == places([point for bucket in buckets(whole, level) for point in outstanding(bucket)])


@given(POINTS, st.integers(1, 20))
@example([Point(step, 0, 0.0) for step in (-(1 << 63), -1, 0, (1 << 63) - 1)], 2)
def test_the_level_is_the_finest_with_so_few_buckets(points: list[Point], most: int) -> None:
    whole = sorted_unique(points)
    level = level_for(columns(whole), most)
    assert len(buckets(whole, level)) <= most
    assert level == 0 or len(buckets(whole, level - 1)) > most


@given(POINTS, st.integers(PER_BUCKET, 40))
def test_a_sample_loses_no_first_last_least_greatest_or_nan_and_is_no_longer_than_asked(
    points: list[Point], most: int
) -> None:
    whole = sorted_unique(points)
    found = listed(extremes(columns(whole), level_for(columns(whole), most // PER_BUCKET)))
    assert len(found) <= most
    assert places(found) == sorted(set(places(found)) & set(places(whole)))
    assert not whole or set(places(outstanding(whole))) <= set(places(found))


SERIES = (Series("a"), Series("k"), Series("k", "m-1"), Series("z"))


def summarised(points: list[Point]) -> Outlines:
    """The summary of key k in a block that holds other keys, and the points in two series."""
    half = len(points) // 2
    parts = [points[:1], points[:half], points[half:], points[-1:]]
    found = [(series, part) for series, part in zip(SERIES, parts, strict=True) if part]
    chunk = Chunk(
        tuple(series for series, _ in found),
        np.array([len(part) for _, part in found]),
        *columns([point for _, part in found for point in part]),
    ).sorted_unique()
    keys, records = summarise(chunk, least=1)
    assert keys == ["a", "k", "z"]
    return Outlines.read([records[SUMMARY_BYTES : 2 * SUMMARY_BYTES]])


@given(POINTS.filter(bool))
def test_a_summary_is_the_extremes_of_one_bucket(points: list[Point]) -> None:
    outlines = summarised(points)
    whole = sorted_unique(points)
    assert outlines.counts.tolist() == [len(whole)]
    known = listed(outlines.known)
    assert len(known) == PER_BUCKET
    assert places(sorted_unique(known)) == places(outstanding(whole))
    assert places([*listed(outlines.first), *listed(outlines.last)]) == places([known[0], known[-1]])


@given(st.lists(POINTS.filter(bool), max_size=6), st.integers(PER_BUCKET, 40))
def test_summaries_stand_for_parts_within_a_bucket(parts: list[list[Point]], most: int) -> None:
    whole = columns(sorted_unique([point for part in parts for point in part]))
    expected = extremes(whole, level_for(whole, most // PER_BUCKET))
    outlines = [summarised(part) for part in parts]
    known = [point for outline in outlines for point in listed(outline.known)]
    level = level_for(columns(sorted_unique(known)), most // PER_BUCKET)
    for part, outline in zip(parts, outlines, strict=True):
        known += part if outline.across(level)[0] else []
    found = columns(sorted_unique(known))
    assert places(listed(extremes(found, level_for(found, most // PER_BUCKET)))) == places(listed(expected))


@given(st.lists(POINTS.filter(bool), max_size=6), POINTS, st.integers(1, 30))
def test_ranks_are_found_in_parts_that_are_not_decoded(parts: list[list[Point]], loose: list[Point], most: int) -> None:
    found = [summarised(part) for part in parts]
    outlines = Outlines(
        np.array([outline.counts[0] for outline in found], np.int64),
        Points(
            *(np.reshape(column, (-1, PER_BUCKET)) for column in columns([p for o in found for p in listed(o.known)]))
        ),
    )
    entangled = outlines.entangled(columns(sorted_unique(loose)))
    for part, met in zip(parts, entangled, strict=True):
        loose = loose + part if met else loose
    apart = [sorted_unique(part) for part, met in zip(parts, entangled, strict=True) if not met]
    known = sorted_unique(loose)
    whole = sorted_unique([point for part in parts for point in part] + loose)
    ranks = even_ranks(len(whole), most)
    located = locate(columns(known), outlines.take(~entangled), ranks)
    assert located.total == len(whole)
    where = zip(located.parts.tolist(), located.indices.tolist(), strict=True)
    taken = [known[index] if part < 0 else apart[part][index] for part, index in where]
    assert places(taken) == places([whole[rank] for rank in ranks])


@given(st.lists(POINTS.filter(bool), max_size=5), POINTS)
def test_what_is_not_entangled_has_its_stretch_for_itself(parts: list[list[Point]], loose: list[Point]) -> None:
    found = [summarised(part) for part in parts]
    outlines = Outlines(
        np.array([outline.counts[0] for outline in found], np.int64),
        Points(
            *(np.reshape(column, (-1, PER_BUCKET)) for column in columns([p for o in found for p in listed(o.known)]))
        ),
    )
    spans = [(min(point[:2] for point in part), max(point[:2] for point in part)) for part in parts]
    entangled = outlines.entangled(columns(loose))
    for at, (low, high) in enumerate(spans):
        others = [span for other, span in enumerate(spans) if other != at] + [(p[:2], p[:2]) for p in loose]
        assert entangled[at] == any(first <= high and last >= low for first, last in others)
