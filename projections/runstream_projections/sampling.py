"""Samples of a history for charts: a few of its points, by step.

*Even* is MLflow's sample: every so many points one, by rank. It is blind to what lies between.

*Extremes* lose no spike: of each *bucket* they hold the first and the last point, the least and the greatest value and
the first NaN. Buckets have fixed boundaries, whatever was logged and however it is stored: a point lies at the 128-bit
number (step + 2^63, timestamp), and a bucket of *level* L is a run of 2^L numbers that begins at a multiple of 2^L.
From level 64 on these are ranges of steps; below it they are ranges of time within a step, for what was logged without
steps. Most buckets are empty, and those count for nothing: a lone step far out does not blur the others.

What these keep of a whole they keep of parts that are put together, so a part may be replaced by its own extremes where
it lies within one bucket (``pyramid.py``).
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from runstream_projections.chunk import Integers, Points, Words

Mask: TypeAlias = npt.NDArray[np.bool_]

#: The level whose one bucket holds everything.
TOP: Final = 128
#: From this level on buckets are ranges of steps.
_STEP: Final = 64
#: Points that a bucket can give: first, last, least, greatest, first NaN.
PER_BUCKET: Final = 5


def by_step(points: Points) -> Points:
    """These points by (step, timestamp, value), NaN last, equal ones once: of those the first given."""
    if _rise(points.steps):
        return points
    # What was sorted piece by piece is sorted in no time by step, and mostly in order then.
    points = points.take(np.argsort(points.steps, kind="stable"))
    if _rise(points.steps):
        return points
    falls, repeats = _compare(points)
    if falls:
        points = points.take(np.lexsort((points.values, points.timestamps, points.steps)))
        _, repeats = _compare(points)
    return points.take(np.flatnonzero(np.append(True, ~repeats))) if repeats.any() else points


def _rise(steps: Integers) -> bool:
    return bool((steps[1:] > steps[:-1]).all())


def _compare(points: Points) -> tuple[bool, Mask]:
    """Of points by step: whether one comes after a greater one, and which equal the one before them."""
    (step, time, value), (next_step, next_time, next_value) = _neighbours(points)
    same_step, same_time = step == next_step, time == next_time
    nan, next_nan = np.isnan(value), np.isnan(next_value)
    less = (next_value < value) | (nan & ~next_nan)
    falls = same_step & ((next_time < time) | (same_time & less))
    return bool(falls.any()), same_step & same_time & ((value == next_value) | (nan & next_nan))


def nan_as_zero(points: Points) -> Points:
    """Points that are sorted by step, but NaN where 0 would be, after it, as MLflow's SQL store sorts them."""
    nan = np.isnan(points.values)
    if not nan.any():
        return points
    return points.take(np.lexsort((nan, np.where(nan, 0.0, points.values), points.timestamps, points.steps)))


def within(points: Points, low: int, high: int) -> Points:
    """The points of steps from ``low`` to ``high``, both included, in the order given."""
    chosen = (points.steps >= low) & (points.steps <= high)
    return points if chosen.all() else points.take(np.flatnonzero(chosen))


def even_ranks(total: int, most: int) -> Integers:
    """The ranks, from 0, that MLflow's sample takes of ``total`` points: the first of each of ``most`` equal parts.

    In place of the last of them stands the very last point. (NTILE: where they cannot be equal the earlier parts have
    one more.)
    """
    if total <= most:
        return np.arange(total)
    size, longer = divmod(total, most)
    parts = np.arange(most)
    ranks: Integers = parts * size + np.minimum(parts, longer)
    ranks[-1] = total - 1
    return ranks


def apart(points: Points, others: Points, level: int) -> Mask:
    """For each pair of points whether they lie in different buckets of a level."""
    return _reach(*_differences(points, others), level)


def _differences(points: Points, others: Points) -> tuple[Words, Words]:
    """Which bits differ of the two halves of the numbers at which the points of each pair lie."""
    steps = points.steps.view(np.uint64) ^ others.steps.view(np.uint64)
    return steps, points.timestamps.view(np.uint64) ^ others.timestamps.view(np.uint64)


def _reach(steps: Words, timestamps: Words, level: int) -> Mask:
    """Which of these numbers of 128 bits have a bit of a weight of 2^level or more."""
    if level >= TOP:
        return np.zeros(len(steps), bool)
    reach: Mask = (steps >> np.uint64(max(level - _STEP, 0))) != 0
    if level < _STEP:
        reach |= (timestamps >> np.uint64(level)) != 0
    return reach


def level_for(points: Points, buckets: int) -> int:
    """The finest level at which points, sorted by step, are in at most so many buckets."""
    differences = _differences(*_neighbours(points))
    low, high = 0, TOP
    while low < high:
        level = (low + high) // 2
        if np.count_nonzero(_reach(*differences, level)) < buckets:
            high = level
        else:
            low = level + 1
    return low


def extremes(points: Points, level: int) -> Points:
    """What the buckets of a level keep of points that are sorted by step, equal ones once; in the same order."""
    if not len(points.values):
        return points
    starts = np.append(0, np.flatnonzero(apart(*_neighbours(points), level)) + 1)
    counts = np.diff(np.append(starts, len(points.values)))
    bucket = np.repeat(np.arange(len(starts)), counts)
    nan = np.isnan(points.values)
    no_nan = not nan.any()
    kept = np.zeros(len(points.values), bool)
    kept[starts] = True
    kept[starts + counts - 1] = True
    for reduce, beyond in ((np.minimum, np.inf), (np.maximum, -np.inf)):
        values = points.values if no_nan else np.where(nan, beyond, points.values)
        reached = np.flatnonzero((values == np.repeat(reduce.reduceat(values, starts), counts)) & ~nan)
        kept[_firsts(reached, bucket)] = True
    if not no_nan:
        kept[_firsts(np.flatnonzero(nan), bucket)] = True
    return points.take(np.flatnonzero(kept))


def _neighbours(points: Points) -> tuple[Points, Points]:
    return points.take(slice(None, -1)), points.take(slice(1, None))


def _firsts(indices: Integers, bucket: Integers) -> Integers:
    """The first of the rising indices in each bucket."""
    return indices[np.append(True, np.diff(bucket[indices]) > 0)] if len(indices) else indices
