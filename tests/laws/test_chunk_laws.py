"""Laws of chunks and their compaction, against a model that walks points one by one."""

from __future__ import annotations

import math
from itertools import groupby, pairwise

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runstream_projections.chunk import Chunk, Points, Series, decode, encode, history
from runstream_projections.compaction import merge

#: (series, step, timestamp, bits of the value), in log order.
Point = tuple[Series, int, int, int]


def bits(value: float) -> int:
    return int(np.array([value]).view(np.uint64)[0])


INT64 = st.integers(-(1 << 63), (1 << 63) - 1) | st.sampled_from([-(1 << 63), (1 << 63) - 1, 0, -1, 1])
ANY_BITS = st.integers(0, (1 << 64) - 1) | st.floats(width=64).map(bits)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=250)
NAME = st.none() | TEXT
ANY_SERIES = st.builds(Series, TEXT, NAME, NAME, NAME)

FEW_SERIES = st.sampled_from(
    [
        Series("a"),
        Series("a", "m-1"),
        Series("a", "m-1", "data", "1"),
        Series("a", None, "data"),
        Series("\ufb01"),
        Series("\U0001f680"),
    ]
)
QUIET_NAN, OTHER_NAN, NEGATIVE_NAN = 0x7FF8_0000_0000_0000, 0x7FF8_0000_0000_0001, 0xFFF8_0000_0000_0000
FEW_BITS = st.sampled_from([QUIET_NAN, OTHER_NAN, NEGATIVE_NAN]) | st.sampled_from(
    [0.0, -0.0, 1.0, 5e-324, math.inf, -math.inf]
).map(bits)
#: Few different points, so that equal and nearly equal ones meet.
COLLIDING = st.lists(st.tuples(FEW_SERIES, st.integers(-1, 1), st.integers(-1, 1), FEW_BITS), max_size=40)
CUTS = st.lists(st.integers(0, 40), max_size=6)


def chunk_of(points: list[Point]) -> Chunk:
    """The points as one chunk, its series in the order in which they first appear."""
    stretches: dict[Series, list[Point]] = {}
    for point in points:
        stretches.setdefault(point[0], []).append(point)
    flat = [point for stretch in stretches.values() for point in stretch]
    return Chunk(
        tuple(stretches),
        np.array([len(stretch) for stretch in stretches.values()], np.int64),
        np.array([step for _, step, _, _ in flat], np.int64),
        np.array([timestamp for _, _, timestamp, _ in flat], np.int64),
        np.array([value for _, _, _, value in flat], np.uint64).view(np.float64),
    )


def split(points: list[Point], cuts: list[int]) -> list[Chunk]:
    """The points as chunks, cut at these places: the log in rows."""
    ends = [0, *sorted(min(cut, len(points)) for cut in cuts), len(points)]
    return [chunk_of(points[start:stop]) for start, stop in pairwise(ends)]


def listed(chunk: Chunk) -> list[Point]:
    ends = np.cumsum(chunk.counts)
    assert len(chunk.series) == len(chunk.counts)
    assert (int(ends[-1]) if len(ends) else 0) == len(chunk) == len(chunk.steps) == len(chunk.timestamps)
    names = [series for series, count in zip(chunk.series, chunk.counts, strict=True) for _ in range(count)]
    return [(Series(*name), *point) for name, point in zip(names, exact(chunk.points), strict=True)]


def exact(points: Points) -> list[tuple[int, int, int]]:
    words = np.ascontiguousarray(points.values).view(np.uint64)
    return list(zip(points.steps.tolist(), points.timestamps.tolist(), words.tolist(), strict=True))


def place(point: Point) -> tuple[int, int, bool, float]:
    """What orders the points of a series, and is the same for equal points."""
    _, step, timestamp, word = point
    value = float(np.array([word], np.uint64).view(np.float64)[0])
    return timestamp, step, math.isnan(value), 0.0 if math.isnan(value) else value


def none_first(series: Series) -> tuple[tuple[bool, str], ...]:
    return tuple((name is not None, name or "") for name in series)


def first_of_equals(points: list[Point]) -> list[Point]:
    """Sorted, and of equal points the first given."""
    return [next(equal) for _, equal in groupby(sorted(points, key=place), key=place)]


def model_sorted_unique(points: list[Point]) -> list[Point]:
    names = sorted({series for series, *_ in points}, key=none_first)
    return [kept for name in names for kept in first_of_equals([point for point in points if point[0] == name])]


def model_history(points: list[Point], key: str) -> list[tuple[int, int, int]]:
    one_key = [point for point in model_sorted_unique(points) if point[0].key == key]
    return [point[1:] for point in first_of_equals(one_key)]


@example([(Series("\U0001f680" * 250, "m", "\0", ""), 0, 0, 0), (Series("é" * 250), 0, 0, 0)], 1)
@given(st.lists(st.tuples(ANY_SERIES, INT64, INT64, ANY_BITS), max_size=20), st.sampled_from([1, 3]))
def test_a_chunk_reads_back_bit_by_bit(points: list[Point], level: int) -> None:
    written = chunk_of(points)
    assert listed(decode(encode(written, level))) == listed(written)


@settings(deadline=None)
@given(
    st.lists(st.tuples(TEXT, st.integers(1, 700)), min_size=1, max_size=4, unique_by=lambda series: series[0]),
    st.sampled_from(["constant", "even", "jitter", "any"]),
    st.sampled_from(["constant", "recurring", "rounded", "float32", "any"]),
    st.integers(0, 1 << 32),
)
def test_chunks_of_every_shape_read_back_bit_by_bit(
    lengths: list[tuple[str, int]], shape: str, kind: str, seed: int
) -> None:
    random = np.random.default_rng(seed)
    total = sum(length for _, length in lengths)
    noise = random.integers(0, 1 << 64, total, np.uint64, endpoint=False)
    steps = {
        "constant": np.full(total, noise[0].astype(np.int64)),
        "even": np.arange(total) * (1 << 60),
        "jitter": np.cumsum(1000 + random.integers(-500, 500, total)),
        "any": noise.view(np.int64),
    }[shape]
    values = {
        "constant": np.full(total, -0.0),
        "recurring": random.integers(0, 50, total) / 49,
        "rounded": np.round(random.random(total), 4),
        "float32": random.random(total).astype(np.float32).astype(np.float64),
        "any": noise.view(np.float64),
    }[kind]
    series = tuple(Series(key) for key, _ in lengths)
    written = Chunk(series, np.array([length for _, length in lengths]), steps, steps[::-1], values)
    assert listed(decode(encode(written, 1))) == listed(written)


@given(COLLIDING, CUTS)
def test_concat_keeps_every_point_in_log_order_of_its_series(points: list[Point], cuts: list[int]) -> None:
    assert listed(Chunk.concat(split(points, cuts))) == listed(chunk_of(points))


@given(st.integers(1, 5), st.lists(st.lists(FEW_BITS, min_size=5, max_size=5), min_size=1, max_size=6))
def test_log_calls_of_the_same_keys_concat_as_any_others(keys: int, calls: list[list[int]]) -> None:
    events = [[(Series(f"k{at}"), step, step, call[at]) for at in range(keys)] for step, call in enumerate(calls)]
    flat = [point for event in events for point in event]
    assert listed(Chunk.concat([chunk_of(event) for event in events])) == listed(chunk_of(flat))


@given(COLLIDING)
def test_sorted_unique_is_the_model(points: list[Point]) -> None:
    assert listed(chunk_of(points).sorted_unique()) == model_sorted_unique(points)


@given(COLLIDING, CUTS, st.lists(st.tuples(st.integers(0, 6), st.integers(2, 7)), max_size=4), st.integers(1, 50))
def test_history_is_the_same_whatever_was_compacted(
    points: list[Point], cuts: list[int], merges: list[tuple[int, int]], max_points: int
) -> None:
    """Neighbouring groups of rows merge again and again; the rows of a group come back in any order."""
    groups = [[chunk] for chunk in split(points, cuts)]
    for start, length in merges:
        taken = groups[start : start + length]
        if taken:
            blocks = merge([chunk for group in taken for chunk in group], max_points)
            groups[start : start + length] = [[decode(encode(block.chunk, 1)) for block in reversed(blocks)]]
    rows = [chunk for group in groups for chunk in group]
    for key in {series.key for series, *_ in points} | {"absent"}:
        assert exact(history(rows, key)) == model_history(points, key)


@given(COLLIDING, CUTS, st.integers(1, 50))
def test_blocks_hold_the_sorted_points_do_not_overlap_and_are_full(
    points: list[Point], cuts: list[int], max_points: int
) -> None:
    blocks = merge(split(points, cuts), max_points)
    assert [point for block in blocks for point in listed(block.chunk)] == model_sorted_unique(points)
    assert all(len(block.chunk) == max_points for block in blocks[:-1])
    assert all(1 <= len(block.chunk) <= max_points for block in blocks[-1:])
    for block in blocks:
        assert (block.key_first, block.key_last) == (block.chunk.series[0].key, block.chunk.series[-1].key)
    for before, after in pairwise(blocks):
        last, first = listed(before.chunk)[-1], listed(after.chunk)[0]
        assert (none_first(last[0]), place(last)) < (none_first(first[0]), place(first))


@given(COLLIDING, CUTS, st.integers(1, 50), st.integers(1, 50))
def test_merge_is_idempotent_and_does_not_depend_on_earlier_cuts(
    points: list[Point], cuts: list[int], earlier: int, max_points: int
) -> None:
    once = merge(split(points, cuts), max_points)
    chunks = [block.chunk for block in merge(split(points, cuts), earlier)]
    for again in (merge(chunks, max_points), merge(chunks[::-1], max_points)):
        assert [listed(block.chunk) for block in again] == [listed(block.chunk) for block in once]


@given(ANY_SERIES, ANY_SERIES)
def test_series_rank_by_code_point_with_none_first(one: Series, other: Series) -> None:
    assert (one.rank() < other.rank()) == (none_first(one) < none_first(other))
