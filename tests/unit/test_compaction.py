"""Blocks of a merge, and what planning does to the rows of a run over its life."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count, groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runstream_projections.chunk import Chunk, Series
from runstream_projections.compaction import (
    BLOCK_POINTS,
    FANOUT,
    MERGE_BYTES,
    MERGE_POINTS,
    TAIL_POINTS,
    TAIL_ROWS,
    Merge,
    RowInfo,
    merge,
    plan,
)


def run_of(lengths: dict[str, int]) -> Chunk:
    """A chunk with so many points of each key: steps and timestamps 0, 1, 2, ..., values 0.0, 1.0, 2.0, ..."""
    ranges = [np.arange(length) for length in lengths.values()]
    steps = np.concatenate(ranges)
    counts = np.array(list(lengths.values()))
    return Chunk(tuple(Series(key) for key in lengths), counts, steps, steps, steps.astype(np.float64))


class TestMerge:
    def test_short_series_share_a_block_and_a_long_one_fills_several(self) -> None:
        blocks = merge([run_of({"a": 3, "b": 25, "c": 1, "d": 2})], max_points=10)
        assert [(block.key_first, block.key_last, len(block.chunk)) for block in blocks] == [
            ("a", "b", 10),
            ("b", "b", 10),
            ("b", "d", 10),
            ("d", "d", 1),
        ]
        assert [block.chunk.counts.tolist() for block in blocks] == [[3, 7], [10], [8, 1, 1], [1]]
        assert np.concatenate([block.chunk.select("b").steps for block in blocks]).tolist() == list(range(25))

    def test_a_cut_between_two_series_leaves_no_empty_stretch(self) -> None:
        blocks = merge([run_of({"a": 4, "b": 4})], max_points=4)
        assert [(block.key_first, block.key_last, block.chunk.counts.tolist()) for block in blocks] == [
            ("a", "a", [4]),
            ("b", "b", [4]),
        ]

    def test_equal_points_of_several_chunks_are_one_and_the_first_stays(self) -> None:
        zero, at = np.zeros(1, np.int64), (Series("a"),)
        one = np.ones(1, np.int64)
        first, second = (Chunk(at, one, zero, zero, np.array([value])) for value in (-0.0, 0.0))
        (block,) = merge([first, second])
        assert block.chunk.values.tolist() == [0.0]
        assert np.signbit(block.chunk.values[0])

    def test_nothing_makes_no_block(self) -> None:
        assert merge([]) == []


def tails(*points: int, size: int = 100) -> list[RowInfo]:
    return [RowInfo(number, number, 0, count, size) for number, count in enumerate(points)]


def groups(*sizes: tuple[int, int], size: int = 100) -> list[RowInfo]:
    """Rows of merged groups, each (level, points), cut as :func:`merge` cuts them."""
    ids = count()
    return [
        RowInfo(next(ids), number, level, min(BLOCK_POINTS, points - start), size)
        for number, (level, points) in enumerate(sizes)
        for start in range(0, points, BLOCK_POINTS)
    ]


class TestPlan:
    def test_a_tail_waits_for_enough_rows_or_points(self) -> None:
        assert plan(tails(*[1] * (TAIL_ROWS - 1)), idle=False) is None
        assert plan(tails(TAIL_POINTS - 2, 1), idle=False) is None
        assert plan(tails(*[1] * TAIL_ROWS), idle=False) == Merge(list(range(TAIL_ROWS)), 0, 1)
        assert plan(tails(TAIL_POINTS - 1, 1), idle=False) == Merge([0, 1], 0, 1)

    def test_rows_are_read_in_log_order_whatever_the_order_given(self) -> None:
        rows = tails(*[1] * TAIL_ROWS)
        assert plan(rows[::-1], idle=False) == Merge(list(range(TAIL_ROWS)), 0, 1)

    def test_a_merged_row_is_older_than_a_tail_row_of_a_smaller_id(self) -> None:
        rows = [RowInfo(5, 5, 0, 60, 100), RowInfo(6, 6, 0, 60, 100), RowInfo(9, 0, 1, 300, 100)]
        assert plan(rows, idle=True) == Merge([9, 5, 6], 0, 1)

    def test_a_backlog_of_tail_rows_is_merged_in_parts_that_fit_memory(self) -> None:
        assert plan(tails(*[MERGE_POINTS // 2] * 5), idle=False) == Merge([0, 1], 0, 1)
        assert plan(tails(MERGE_POINTS * 3, 1), idle=False) == Merge([0], 0, 1)
        assert plan(tails(*[1000] * 70, size=MERGE_BYTES // 3), idle=False) == Merge([0, 1, 2], 0, 1)

    def test_the_eight_oldest_neighbours_of_a_level_make_one_of_the_next(self) -> None:
        assert plan(groups(*[(2, 5000)] * (FANOUT - 1)), idle=False) is None
        rows = groups((3, 9000), *[(2, 5000)] * (FANOUT + 1), (1, 70_000))
        merged = plan(rows, idle=False)
        assert merged == Merge([row.id for row in rows if 1 <= row.group <= FANOUT], 1, 3)

    def test_groups_of_a_level_with_a_full_one_between_them_are_not_neighbours(self) -> None:
        rows = groups(*[(1, 5000)] * 4, (1, MERGE_POINTS // FANOUT + 1), *[(1, 5000)] * 4)
        assert plan(rows, idle=True) is None

    @pytest.mark.parametrize(("points", "size"), [(MERGE_POINTS // FANOUT + 1, 100), (5000, MERGE_BYTES // FANOUT)])
    def test_groups_that_would_make_too_large_a_merge_stay(self, points: int, size: int) -> None:
        assert plan(groups(*[(2, points)] * 20, size=size), idle=True) is None

    def test_an_idle_run_merges_its_tail_together_with_loose_groups(self) -> None:
        rows = [*groups((1, 9000), (1, 400), (1, 300)), RowInfo(10, 10, 0, 90, 100), RowInfo(11, 11, 0, 50, 100)]
        assert plan(rows, idle=False) is None
        assert plan(rows, idle=True) == Merge([3, 4, 10, 11], 1, 1)

    def test_an_idle_run_leaves_an_older_group_that_is_much_larger(self) -> None:
        rows = [*groups((2, 2000)), RowInfo(10, 10, 0, 20, 100), RowInfo(11, 11, 0, 21, 100)]
        assert plan(rows, idle=True) == Merge([10, 11], 10, 1)

    def test_loose_groups_merge_although_a_newer_one_is_too_small_to_join(self) -> None:
        assert plan(groups((1, 500), (1, 500), (1, 40)), idle=True) == Merge([0, 1], 0, 1)

    def test_an_idle_merge_keeps_the_highest_level(self) -> None:
        assert plan(groups((3, 500), (1, 400)), idle=True) == Merge([0, 1], 0, 3)

    def test_loose_groups_between_filled_ones_are_found(self) -> None:
        assert plan(groups((1, 500), (1, 400), (1, 9000)), idle=True) == Merge([0, 1], 0, 1)

    def test_an_idle_run_leaves_filled_rows_and_a_single_small_block_alone(self) -> None:
        assert plan(groups((1, 5000), (1, BLOCK_POINTS // 2)), idle=True) is None
        assert plan(groups((1, 5000), (1, 3)), idle=True) is None
        assert plan([], idle=True) is None

    def test_an_idle_run_keeps_no_tail(self) -> None:
        assert plan(tails(BLOCK_POINTS + 1), idle=True) == Merge([0], 0, 1)
        assert plan(groups((1, 5000), (0, 1)), idle=True) == Merge([2], 1, 1)

    def test_an_idle_run_merges_its_whole_tail_however_small_the_newest_row(self) -> None:
        assert plan(tails(5000, 1), idle=True) == Merge([0, 1], 0, 1)


@dataclass
class Life:
    """The rows of a run of distinct points, and how often each tail's points were written."""

    look_every: int = 1
    rows: dict[int, RowInfo] = field(default_factory=dict)
    written: dict[int, int] = field(default_factory=dict)
    tails_of: dict[int, list[int]] = field(default_factory=dict)
    points: dict[int, int] = field(default_factory=dict)
    ids: count[int] = field(default_factory=count)

    def log(self, points: int, *, idle: bool = False) -> None:
        row = RowInfo(next(self.ids), len(self.points), 0, points, 100)
        self.rows[row.id] = row
        self.tails_of[row.group], self.written[row.group], self.points[row.group] = [row.group], 1, points
        if idle or row.group % self.look_every == 0:
            self.compact(idle=idle)

    def compact(self, *, idle: bool) -> None:
        while (todo := plan(list(self.rows.values()), idle=idle)) is not None:
            read = [self.rows.pop(row_id) for row_id in todo.row_ids]
            points = sum(row.points for row in read)
            assert points <= MERGE_POINTS or len(read) == 1
            members = [tail for group in sorted({row.group for row in read}) for tail in self.tails_of.pop(group)]
            assert members == sorted(members), "groups that are merged are neighbours in log order"
            self.tails_of[todo.group] = members
            for tail in members:
                self.written[tail] += 1
            for start in range(0, points, BLOCK_POINTS):
                row = RowInfo(next(self.ids), todo.group, todo.level, min(BLOCK_POINTS, points - start), 100)
                self.rows[row.id] = row

    def amplification(self) -> float:
        """How often a point was written, on average."""
        total = sum(self.written[tail] * points for tail, points in self.points.items())
        return total / sum(self.points.values())

    def in_order(self) -> list[tuple[int, int, int]]:
        """(level, rows, points) of the groups, oldest first."""
        ordered = sorted(self.rows.values(), key=lambda row: row.group)
        members = [list(rows) for _, rows in groupby(ordered, key=lambda row: row.group)]
        return [(rows[0].level, len(rows), sum(row.points for row in rows)) for rows in members]

    def check_bounds(self) -> None:
        """The bounds of the module's docstring."""
        segments: list[list[int]] = [[]]
        for level, _, points in self.in_order():
            assert level <= 7
            if level > 0 and points > MERGE_POINTS // FANOUT:
                segments.append([])
            else:
                segments[-1].append(level)
        for levels in segments:
            assert levels == sorted(levels, reverse=True)
            assert all(levels.count(level) < FANOUT for level in range(1, 8))
            assert levels.count(0) < TAIL_ROWS


SIZES = st.sampled_from([1, 2, 10, 50, 500, 3000, 20_000, 140_000])


class TestLife:
    @pytest.mark.parametrize(
        ("points", "rows", "most_writes"),
        [(1, 40_000, 5), (10, 40_000, 5), (100, 20_000, 4), (500, 10_000, 3), (20_000, 500, 3)],
    )
    def test_steady_logging(self, points: int, rows: int, most_writes: int) -> None:
        life = Life(look_every=1 if points > 1000 else 16)
        for _ in range(rows):
            life.log(points)
        life.compact(idle=False)
        life.check_bounds()
        assert max(life.written.values()) <= most_writes
        life.compact(idle=True)
        groups_left = len(life.in_order())
        assert groups_left <= points * rows / (MERGE_POINTS / 4) + 3 * FANOUT
        assert len(life.rows) <= points * rows / BLOCK_POINTS + groups_left

    @pytest.mark.parametrize(("points", "most"), [(1, 14), (10, 12), (200, 8), (1000, 6)])
    def test_a_run_that_goes_idle_after_every_row(self, points: int, most: float) -> None:
        life = Life()
        for _ in range(1000):
            life.log(points, idle=True)
        life.check_bounds()
        assert life.amplification() < most
        assert sum(rows == 1 and count < BLOCK_POINTS // 2 for _, rows, count in life.in_order()) <= 6

    @settings(deadline=None, max_examples=20)
    @given(st.lists(st.tuples(SIZES, st.integers(1, 80), st.booleans()), max_size=8))
    def test_any_mixture_keeps_the_bounds(self, phases: list[tuple[int, int, bool]]) -> None:
        life = Life(look_every=4)
        for points, rows, idle in phases:
            for _ in range(rows):
                life.log(points)
            life.compact(idle=idle)
        life.check_bounds()
        assert max(life.written.values(), default=0) <= 8 + 40
        if not any(idle for _, _, idle in phases):
            assert max(life.written.values(), default=0) <= 8


def test_rows_of_a_key_stay_within_the_bound_with_real_chunks() -> None:
    """300 rows of 40 keys x 25 points: every key is found whole, in no more rows than promised."""
    keys = tuple(Series(f"k{at:02}") for at in range(40))
    stored: dict[int, tuple[RowInfo, Chunk]] = {}
    ids = count()

    def store(group: int, level: int, chunk: Chunk) -> None:
        row = RowInfo(next(ids), group, level, len(chunk), 1000)
        stored[row.id] = (row, chunk)

    def compact(*, idle: bool) -> None:
        while (todo := plan([row for row, _ in stored.values()], idle=idle)) is not None:
            for block in merge([stored.pop(row_id)[1] for row_id in todo.row_ids]):
                store(todo.group, todo.level, block.chunk)

    for batch in range(300):
        steps = np.tile(np.arange(batch * 25, batch * 25 + 25), 40)
        store(batch, 0, Chunk(keys, np.full(40, 25), steps, steps, steps / 7))
        compact(idle=False)
    compact(idle=True)
    groups_left = {row.group for row, _ in stored.values()}
    assert len(stored) <= 300_000 / BLOCK_POINTS + len(groups_left)
    for key in keys:
        holding = [chunk for _, chunk in stored.values() if len(chunk.select(key.key))]
        assert len(holding) <= 7500 / BLOCK_POINTS + 2 * len(groups_left)
        assert sum(len(chunk.select(key.key)) for chunk in holding) == 7500
