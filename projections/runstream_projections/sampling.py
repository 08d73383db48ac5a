"""Samples of a history for charts: a few of its points, by step.

*Even* is MLflow's sample: every so many points one, by rank. It is blind to what lies between.

*Extremes* lose no spike: of each *bucket* they hold the first and the last point, the least and the greatest value and
the first NaN. Buckets have fixed boundaries, whatever was logged and however it is stored: a point lies at the 128-bit
number (step, timestamp), and a bucket of *level* L is a run of 2^L numbers that begins at a multiple of 2^L. From level
64 on these are ranges of steps; below it are ranges of time within a step, for what was logged without steps. Most
buckets are empty, and those count for nothing: a lone step far out does not blur the others.

What these keep of a whole they keep of parts that are put together, so a part may be replaced by its own extremes where
it lies within one bucket (``pyramid.py``).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from runstream_projections.chunk import Integers, Points

#: The level whose one bucket holds everything.
TOP: Final = 128
#: Points that a bucket can give: first, last, least, greatest, first NaN.
PER_BUCKET: Final = 5

_HALF: Final = np.uint64(32)
_LOW_HALF: Final = np.uint64((1 << 32) - 1)


def by_step(points: Points) -> Points:
    """These points by (step, timestamp, value), NaN last, equal ones once: of those the first given."""
    if len(points.values) < 2:
        return points
    after, before = points.take(slice(1, None)), points.take(slice(None, -1))
    if (after.steps > before.steps).all():
        return points
    points = points.take(np.lexsort((points.values, points.timestamps, points.steps)))
    after, before = points.take(slice(1, None)), points.take(slice(None, -1))
    same_value = (after.values == before.values) | (np.isnan(after.values) & np.isnan(before.values))
    same = same_value & (after.steps == before.steps) & (after.timestamps == before.timestamps)
    return points.take(np.flatnonzero(np.append(True, ~same)))


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


def apart(points: Points, others: Points) -> Integers:
    """For each pair of points the least level at which one bucket holds both."""
    by_steps = _bits(points.steps.view(np.uint64) ^ others.steps.view(np.uint64))
    by_time = _bits(points.timestamps.view(np.uint64) ^ others.timestamps.view(np.uint64))
    levels: Integers = np.where(by_steps > 0, by_steps + 64, by_time)
    return levels


def _bits(words: np.ndarray[tuple[int, ...], np.dtype[np.uint64]]) -> Integers:
    """How many bits each number has."""
    high, low = words >> _HALF, words & _LOW_HALF
    lengths: Integers = np.where(high > 0, np.frexp(high)[1] + 32, np.frexp(low)[1]).astype(np.int64)
    return lengths


def level_for(points: Points, buckets: int) -> int:
    """The finest level at which points, sorted by step, are in at most so many buckets."""
    if len(points.values) <= buckets:
        return 0
    between = _gaps(points)
    return int(np.partition(between, len(between) - buckets)[-buckets])


def extremes(points: Points, level: int) -> Points:
    """What the buckets of a level keep of points that are sorted by step, equal ones once; in the same order."""
    if not len(points.values):
        return points
    starts = np.append(0, np.flatnonzero(_gaps(points) > level) + 1)
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


def _gaps(points: Points) -> Integers:
    return apart(points.take(slice(None, -1)), points.take(slice(1, None)))


def _firsts(indices: Integers, bucket: Integers) -> Integers:
    """The first of the rising indices in each bucket."""
    return indices[np.append(True, np.diff(bucket[indices]) > 0)] if len(indices) else indices
