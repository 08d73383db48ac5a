"""The metric columns of log calls as one chunk of points."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain, groupby, repeat

import numpy as np

from runstream_projections.chunk import Chunk, Doubles, Integers, Series
from runstream_schemas.columns import MetricColumns


def chunk_of(calls: Sequence[MetricColumns]) -> Chunk:
    """Return the points of one run's log calls, given in log order."""
    chunks: list[Chunk] = []
    for keys, group in groupby(calls, key=_keys_of_row):
        if keys is None:
            chunks.extend(map(from_columns, group))
        else:
            chunks.append(_from_rows(keys, list(group)))
    return Chunk.concat(chunks)


def _keys_of_row(call: MetricColumns) -> tuple[str, ...] | None:
    """The keys of a call that is a row: one value for each key, all at one step and time; the commonest."""
    if call.counts is not None or call.model_ids is not None or call.dataset_names is not None:
        return None
    if call.dataset_digests is not None or len(call.values) != len(call.keys):
        return None
    return tuple(call.keys) if len(call.steps) == 1 and len(call.timestamps) == 1 else None


def _from_rows(keys: tuple[str, ...], rows: list[MetricColumns]) -> Chunk:
    """Calls with the same keys are the rows of a matrix; its columns are the series."""
    width, height = len(keys), len(rows)
    # numpy reads the wire's "NaN", "Infinity" and "-Infinity" as float() does.
    values = np.fromiter(chain.from_iterable(row.values for row in rows), np.float64, width * height)
    return Chunk(
        _plain_series(keys),
        np.full(width, height),
        np.tile(np.fromiter((row.steps[0] for row in rows), np.int64, height), width),
        np.tile(np.fromiter((row.timestamps[0] for row in rows), np.int64, height), width),
        values.reshape(height, width).T.ravel(),
    )


def from_columns(columns: MetricColumns) -> Chunk:
    """Return the points of one call; a column of one entry stands for all points."""
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


def _integers(column: list[int], total: int) -> Integers:
    array = np.array(column, np.int64)
    return np.repeat(array, total) if len(array) != total else array


def _doubles(column: list[float | str], total: int) -> Doubles:
    array = np.array(column, np.float64)
    return np.repeat(array, total) if len(array) != total else array
