"""A log call's metric columns as a chunk of points."""

from __future__ import annotations

from functools import lru_cache
from itertools import repeat

import numpy as np
from runstream_schemas.columns import MetricColumns

from runstream_projections.chunk import Chunk, Series


def from_columns(columns: MetricColumns) -> Chunk:
    """Return the points of ``columns``; a column of one entry stands for all points."""
    series = _series(columns)
    total = len(columns)
    counts = np.ones(len(series), np.int64) if columns.counts is None else np.array(columns.counts, np.int64)
    return Chunk(
        series,
        counts,
        _integers(columns.steps, total),
        _integers(columns.timestamps, total),
        _doubles(columns.values, total),
    )


def _series(columns: MetricColumns) -> tuple[Series, ...]:
    if columns.model_ids is None and columns.dataset_names is None and columns.dataset_digests is None:
        return _plain_series(tuple(columns.keys))
    nothing = repeat(None)
    return tuple(
        map(
            Series,
            columns.keys,
            columns.model_ids or nothing,
            columns.dataset_names or nothing,
            columns.dataset_digests or nothing,
        )
    )


@lru_cache(maxsize=64)
def _plain_series(keys: tuple[str, ...]) -> tuple[Series, ...]:
    """The same tuple for the same keys: a training loop logs them again and again, and equal tuples merge faster."""
    return tuple(map(Series, keys))


def _integers(column: list[int], total: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    array = np.array(column, np.int64)
    return np.repeat(array, total) if len(array) != total else array


def _doubles(column: list[float | str], total: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    # numpy reads the wire's "NaN", "Infinity" and "-Infinity" as float() does.
    array = np.array(column, np.float64)
    return np.repeat(array, total) if len(array) != total else array
