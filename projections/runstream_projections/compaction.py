"""Compaction: tail rows become sorted blocks, and small groups of blocks become larger ones.

The rows of one run are, in log order, a sequence of *groups*: a tail row is a group of its own, at level 0; the rows
that one merge wrote are a group, at level 1 or above. A merge takes neighbouring groups only, so that "the first in log
order wins" among equal points holds across merges. :func:`plan` names the next one:

- the tail rows, when there are 64 of them or they hold 65,536 points: to level 1;
- eight neighbouring *open* groups of one level: to the next level. A group is open while it holds at most 131,072
  points and 8 MiB, so that a merge takes at most 1,048,576 points and 64 MiB; a closed group is left alone for good;
- when the run is idle: the tail rows, and *loose* groups (rows less than half full on average) next to one another.
  An older loose group joins only if it is at most four times as large as what it joins. The level stays.

What holds when :func:`plan` says None, for a run of distinct points:

- A level holds eight times the groups of the level below, so an open group is at most at level 6 and no group above 7.
  Levels fall from old to new between two closed groups, so there are at most 7 x 6 = 42 open groups there. Steady
  logging has closed groups only at the old end.
- *Rows that may hold a key of p points*: p / 4,096 + 2 in each group that has the key, and at most 63 tail rows.
- *Write amplification*: every point is written at most 8 times, as a tail and once at each level. Groups made of 64
  tail rows of t points close at the first level L with 64 t 8^(L-1) > 131,072: 5 writes for t = 10, 4 for t = 100, 3
  from t = 500 on. Idle merges come on top while a group is loose, so smaller than 2,048 points: each adds at least a
  quarter to the group of an older point, so there are at most 40; about 10 in a run that goes idle every 10 points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Final, NamedTuple

import numpy as np

from runstream_projections.chunk import Chunk

#: Points of a full block.
BLOCK_POINTS: Final = 4_096
#: Tail rows, and points in them, that are worth a merge while the run goes on.
TAIL_ROWS: Final = 64
TAIL_POINTS: Final = 65_536
#: Groups of one level that make one of the next.
FANOUT: Final = 8
#: What one merge may read, which bounds its memory.
MERGE_POINTS: Final = 1 << 20
MERGE_BYTES: Final = 64 << 20
#: An older loose group is rewritten only for at least a fourth of its points.
IDLE_RATIO: Final = 4


class Block(NamedTuple):
    """A sorted chunk of at most :data:`BLOCK_POINTS` points, and the keys of its first and last point."""

    key_first: str
    key_last: str
    chunk: Chunk


class RowInfo(NamedTuple):
    """A stored row of a run: all that planning needs to know of it.

    ``group`` rises in log order: a tail row has a number of its own, such as its id; the rows of one merge share
    :attr:`Merge.group`. ``level`` is 0 for a tail row. ``bytes`` is the size of the encoded chunk.
    """

    id: int
    group: int
    level: int
    points: int
    bytes: int


class Merge(NamedTuple):
    """Rows to read, in log order, and the group and level of the rows that replace them."""

    row_ids: list[int]
    group: int
    level: int


def merge(chunks: Sequence[Chunk], max_points: int = BLOCK_POINTS) -> list[Block]:
    """The points of chunks given in log order, sorted, equal ones once, as blocks that do not overlap.

    All blocks but the last hold exactly ``max_points``, wherever that cuts: no other cut has fewer rows. So short
    series share a block, and a series of p points is in at most (p - 2) // max_points + 2 of them.
    """
    whole = Chunk.concat(chunks).sorted_unique()
    ends = np.cumsum(whole.counts)
    starts = ends - whole.counts
    blocks = []
    for start in range(0, len(whole), max_points):
        stop = min(start + max_points, len(whole))
        # The series of the points start and stop - 1.
        first, last = np.searchsorted(ends, [start, stop - 1], side="right")
        touched = slice(first, last + 1)
        counts = np.minimum(ends[touched], stop) - np.maximum(starts[touched], start)
        series = whole.series[touched]
        chunk = Chunk(series, counts, *whole.points.take(slice(start, stop)))
        blocks.append(Block(series[0][0], series[-1][0], chunk))
    return blocks


def plan(rows: Sequence[RowInfo], *, idle: bool) -> Merge | None:
    """The next merge for the rows of one run, given in any order, or None when they are as they should be.

    ``idle``: no point came for a while, or the run has ended. Call it again after each merge: it comes to an end.
    """
    in_log_order = sorted(rows, key=attrgetter("group", "id"))
    groups = [_Group.of(list(members)) for _, members in groupby(in_log_order, key=attrgetter("group"))]
    return _merge_full_tail(groups) or _merge_level(groups) or (_merge_loose(groups) if idle else None)


@dataclass(frozen=True, slots=True)
class _Group:
    number: int
    level: int
    row_ids: list[int]
    points: int
    bytes: int

    @staticmethod
    def of(rows: list[RowInfo]) -> _Group:
        row_ids, points, size = (
            [row.id for row in rows],
            sum(row.points for row in rows),
            sum(row.bytes for row in rows),
        )
        return _Group(rows[0].group, rows[0].level, row_ids, points, size)

    @property
    def is_open(self) -> bool:
        return self.points <= MERGE_POINTS // FANOUT and self.bytes <= MERGE_BYTES // FANOUT

    @property
    def is_loose(self) -> bool:
        return self.level == 0 or 2 * self.points < BLOCK_POINTS * len(self.row_ids)


def _merge_of(groups: Sequence[_Group], level: int) -> Merge:
    return Merge([row_id for group in groups for row_id in group.row_ids], groups[0].number, level)


def _merge_full_tail(groups: Sequence[_Group]) -> Merge | None:
    tail = [group for group in groups if group.level == 0]
    if len(tail) < TAIL_ROWS and sum(group.points for group in tail) < TAIL_POINTS:
        return None
    # The oldest that one merge may read, or the oldest alone.
    points = np.cumsum([group.points for group in tail])
    size = np.cumsum([group.bytes for group in tail])
    fitting = int(np.count_nonzero((points <= MERGE_POINTS) & (size <= MERGE_BYTES)))
    return _merge_of(tail[: max(fitting, 1)], 1)


def _merge_level(groups: Sequence[_Group]) -> Merge | None:
    for (level, is_open), members in groupby(groups, key=attrgetter("level", "is_open")):
        oldest = list(members)[:FANOUT]
        if level > 0 and is_open and len(oldest) == FANOUT:
            return _merge_of(oldest, level + 1)
    return None


def _merge_loose(groups: Sequence[_Group]) -> Merge | None:
    for is_loose, members in groupby(groups, key=attrgetter("is_loose")):
        newest_first = list(members)[::-1] if is_loose else []
        for start, newest in enumerate(newest_first):
            points, stop = newest.points, start + 1
            for older in newest_first[stop:]:
                if older.level > 0 and older.points > IDLE_RATIO * points:
                    break
                points, stop = points + older.points, stop + 1
            # A block alone is as good as its copy; the tail is emptied, so that its table can shrink.
            if stop - start > 1 or newest.level == 0:
                taken = newest_first[start:stop][::-1]
                return _merge_of(taken, max(1, *(group.level for group in taken)))
    return None
