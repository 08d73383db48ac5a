"""Summaries of blocks, so that a chart of a long history decodes few of them.

A block's row keeps, for each key of which it holds many points, their number and their extremes as one bucket
(``sampling.py``): at most five points. These stand for all of them in every bucket that holds them whole, so of a
history of millions of points only the blocks that lie across a bucket's boundary are decoded: at most one for each
boundary, where blocks do not overlap. A second level would save the reading of 180 bytes for 4,096 points.

A summary is a record of :data:`SUMMARY`, little-endian: the number of points, equal ones once, then the columns of five
points by (step, timestamp, value); where there are fewer, the last one is repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from runstream_projections.chunk import Chunk, Doubles, Integers, Points, history
from runstream_projections.sampling import PER_BUCKET, Mask, apart, by_step

#: A key's points in a block are summarised from this number on: a summary is small beside them.
LEAST_POINTS: Final = 512

SUMMARY: Final = np.dtype(
    [
        ("points", "<i8"),
        ("steps", "<i8", PER_BUCKET),
        ("timestamps", "<i8", PER_BUCKET),
        ("values", "<f8", PER_BUCKET),
    ]
)
SUMMARY_BYTES: Final = SUMMARY.itemsize


def summarise(chunk: Chunk, least: int = LEAST_POINTS) -> tuple[list[str], bytes]:
    """The keys of which a block holds ``least`` points or more, and their summaries, one after the other."""
    totals: dict[str, int] = {}
    for series, count in zip(chunk.series, chunk.counts.tolist(), strict=True):
        totals[series[0]] = totals.get(series[0], 0) + count
    keys = [key for key, total in totals.items() if total >= least]
    records = np.zeros(len(keys), SUMMARY)
    for record, key in zip(records, keys, strict=True):
        points = by_step(history([chunk], key))
        record["points"] = len(points.values)
        record["steps"], record["timestamps"], record["values"] = points.take(_outstanding(points.values))
    return keys, records.tobytes()


def _outstanding(values: Doubles) -> Integers:
    """Where the extremes of all values as one bucket are, rising; the last one again for those that there are not."""
    last = len(values) - 1
    nan = np.isnan(values)
    if nan.any():
        numbers = np.flatnonzero(~nan)
        low_high = [numbers[values[numbers].argmin()], numbers[values[numbers].argmax()]] if len(numbers) else []
        found = {0, *low_high, int(nan.argmax()), last}
    else:
        found = {0, int(values.argmin()), int(values.argmax()), last}
    return np.array(sorted(found) + [last] * (PER_BUCKET - len(found)))


class Outlines(NamedTuple):
    """Parts of a history, not decoded: how many points each has, and the five that stand for them (rows of five)."""

    counts: Integers
    points: Points

    @staticmethod
    def read(summaries: Sequence[bytes]) -> Outlines:
        """What stored summaries say."""
        records = np.frombuffer(b"".join(summaries), SUMMARY)
        return Outlines(records["points"], Points(records["steps"], records["timestamps"], records["values"]))

    def take(self, which: Mask) -> Outlines:
        """Some of the parts."""
        return Outlines(self.counts[which], Points._make(column[which] for column in self.points))

    @property
    def first(self) -> Points:
        """The first point of each part, by step."""
        return Points._make(column[:, 0] for column in self.points)

    @property
    def last(self) -> Points:
        """The last point of each part, by step."""
        return Points._make(column[:, -1] for column in self.points)

    @property
    def known(self) -> Points:
        """All points that stand for a part, one part after the other."""
        return Points._make(np.ascontiguousarray(column).reshape(-1) for column in self.points)

    def inside(self, low: int, high: int) -> Mask:
        """Which parts lie within a range of steps, both ends included."""
        return (self.first.steps >= low) & (self.last.steps <= high)

    def outside(self, low: int, high: int) -> Mask:
        """Which parts hold no point of a range of steps."""
        return (self.last.steps < low) | (self.first.steps > high)

    def across(self, level: int) -> Mask:
        """Which parts do not lie within one bucket of a level."""
        return apart(self.first, self.last, level)

    def entangled(self, others: Points) -> Mask:
        """Which parts may hold points among, or equal to, those of another part, or one of ``others``.

        Between the first and the last point of any other part lies nothing but its own points.
        """
        begins, ends, between = _ranks(self.first, self.last, others)
        order = np.argsort(begins, kind="stable")
        begins, ends = begins[order], ends[order]
        met = np.zeros(len(order), bool)
        met[1:] |= begins[1:] <= np.maximum.accumulate(ends)[:-1]
        met[:-1] |= ends[:-1] >= begins[1:]
        between.sort()
        met |= np.searchsorted(between, ends, "right") > np.searchsorted(between, begins, "left")
        entangled = np.empty(len(order), bool)
        entangled[order] = met
        return entangled


def _ranks(*columns: Points) -> list[Integers]:
    """For each point a number that orders all of them by (step, timestamp), the same where these are the same."""
    steps = np.concatenate([points.steps for points in columns])
    timestamps = np.concatenate([points.timestamps for points in columns])
    order = np.lexsort((timestamps, steps))
    rises = (np.diff(steps[order]) != 0) | (np.diff(timestamps[order]) != 0)
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.append(0, np.cumsum(rises)) if len(order) else 0
    ends = np.cumsum([len(points.steps) for points in columns])
    return np.split(ranks, ends[:-1])


class Places(NamedTuple):
    """Where ranks of a history lie, of which some points are known and other parts are not decoded.

    ``total`` points; for each rank asked for, the part that holds it, or -1, and its index there or among the known.
    """

    total: int
    parts: Integers
    indices: Integers


def locate(known: Points, outlines: Outlines, ranks: Integers) -> Places:
    """Find ranks by step; ``known`` is sorted, and no part is entangled with it or with another."""
    begins, among = _ranks(outlines.first, known)
    order = np.argsort(np.concatenate([begins, among]), kind="stable")
    sizes = np.concatenate([outlines.counts, np.ones(len(among), np.int64)])[order]
    before = np.cumsum(sizes) - sizes
    holders = np.searchsorted(before, ranks, "right") - 1
    items = order[holders]
    in_part = items < len(begins)
    return Places(
        int(sizes.sum()),
        np.where(in_part, items, -1),
        np.where(in_part, ranks - before[holders], items - len(begins)),
    )
