"""Reads samples of histories by step: of short ones from all their points, of long ones with the help of summaries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

import asyncpg
import numpy as np

from runstream_projections.chunk import Points, decode, history
from runstream_projections.metric_blocks import METRIC_BLOCKS, data_query, outlines_query
from runstream_projections.pyramid import Outlines, locate
from runstream_projections.sampling import (
    PER_BUCKET,
    by_step,
    even_ranks,
    extremes,
    level_for,
    nan_as_zero,
    within,
)
from runstream_services.gateway.service import Gateway, Select

#: Runs whose rows hold no more points, those of other keys counted, are decoded whole.
WHOLE_POINTS: Final = 65_536
#: Of the others so many points, of any key, are decoded at once.
LOAD_POINTS: Final = 262_144
#: What is decoded for extremes is reduced to them from so many points on.
KEPT_POINTS: Final = 65_536
#: Rows may hold equal points: so many times as many as were asked for are decoded, to see if they are so few.
SLACK: Final = 4

#: Runs that are read at once, on one snapshot, but for long ones.
RUNS_AT_ONCE: Final = 16


class Asked(NamedTuple):
    """A sample of at most ``most`` points of a metric of each run, of steps from ``low`` to ``high``."""

    key: str
    low: int
    high: int
    most: int


class Sample(NamedTuple):
    """Points of a run by step; ``total`` is how many the range holds, where it is not of all of them.

    A point that was logged again may then count twice, until compaction has met both.
    """

    run_id: str
    points: Points
    total: int


async def even_samples(gateway: Gateway, run_ids: Sequence[str], asked: Asked) -> list[Sample]:
    """MLflow's sample by rank, for each run; a long history is read on a snapshot of its own."""
    return await _samples(gateway, run_ids, asked, _even, _even_of_long)


async def extreme_samples(gateway: Gateway, run_ids: Sequence[str], asked: Asked) -> list[Sample]:
    """A sample that holds the first and the last point, the least and the greatest value, and NaN; else the same."""
    return await _samples(gateway, run_ids, asked, _extremes, _extremes_of_long)


def _even(points: Points, most: int) -> Points:
    return nan_as_zero(points).take(even_ranks(len(points.values), most))


def _extremes(points: Points, most: int) -> Points:
    return points if len(points.values) <= most else extremes(points, level_for(points, most // PER_BUCKET))


async def _samples(
    gateway: Gateway,
    run_ids: Sequence[str],
    asked: Asked,
    of_whole: Callable[[Points, int], Points],
    of_long: Callable[[_Long, Asked], Awaitable[tuple[Points, int]]],
) -> list[Sample]:
    rows = await gateway.fetch(
        (METRIC_BLOCKS.name,),
        lambda suffixes: outlines_query(suffixes[METRIC_BLOCKS.name]),
        run_ids,
        asked.key,
        asked.low,
        asked.high,
        WHOLE_POINTS,
    )
    by_run = {run_id: list(members) for run_id, members in groupby(rows, key=itemgetter("run_id"))}
    short = {run_id: rows for run_id, rows in by_run.items() if rows[0]["data"] is not None}
    found = await asyncio.to_thread(_of_short, short, asked, of_whole)
    for run_id in by_run.keys() - short.keys():

        async def read_long(suffix: str, select: Select, run_id: str = run_id) -> Sample:
            rows = await select(outlines_query(suffix), [run_id], asked.key, asked.low, asked.high, 0)
            return Sample(run_id, *await of_long(_Long(select, suffix, run_id, rows, asked), asked))

        found[run_id] = await gateway.snapshot(METRIC_BLOCKS.name, read_long)
    return [found.get(run_id, Sample(run_id, _NONE, 0)) for run_id in run_ids]


_NONE: Final = Points(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))


def _of_short(
    runs: dict[str, list[asyncpg.Record]], asked: Asked, of_whole: Callable[[Points, int], Points]
) -> dict[str, Sample]:
    found = {}
    for run_id, rows in runs.items():
        points = _decoded([row["data"] for row in rows], asked)
        found[run_id] = Sample(run_id, of_whole(points, asked.most), len(points.values))
    return found


def _decoded(data: Sequence[bytes], asked: Asked) -> Points:
    return within(by_step(history([decode(chunk) for chunk in data], asked.key)), asked.low, asked.high)


class _Long:
    """The rows of a run that holds many points: what summaries say of them, and a way to decode some."""

    def __init__(self, select: Select, suffix: str, run_id: str, rows: Sequence[asyncpg.Record], asked: Asked) -> None:
        self._select = select
        self._suffix = suffix
        self._run_id = run_id
        self._asked = asked
        with_summary = [row for row in rows if row["summary"] is not None]
        outlines = Outlines.read([row["summary"] for row in with_summary])
        inside = outlines.inside(asked.low, asked.high)
        in_part = ~inside & ~outlines.outside(asked.low, asked.high)
        #: Rows that must be decoded: those without a summary, and those on the edges of the range.
        self.loose = [row for row in rows if row["summary"] is None]
        self.loose += [row for row, chosen in zip(with_summary, in_part, strict=True) if chosen]
        #: The other ones, and what their summaries say.
        self.rows = [row for row, chosen in zip(with_summary, inside, strict=True) if chosen]
        self.outlines = outlines.take(inside)

    async def decode(self, rows: Sequence[asyncpg.Record]) -> AsyncIterator[list[Points]]:
        """The points of each row, in the range and by step, in the order of the rows; some rows at a time."""
        for some in _batches(rows):
            places = [(row["position"], row["part"]) for row in some]
            found = await self._select(data_query(self._suffix), self._run_id, *map(list, zip(*places, strict=True)))
            stored = {(row["position"], row["part"]): row["data"] for row in found}
            yield await asyncio.to_thread(self._decode, [stored[place] for place in places])

    def _decode(self, data: Sequence[bytes]) -> list[Points]:
        return [_decoded([chunk], self._asked) for chunk in data]


def _batches(rows: Sequence[asyncpg.Record]) -> list[list[asyncpg.Record]]:
    batches: list[list[asyncpg.Record]] = []
    room = 0
    for row in rows:
        if row["points"] > room:
            batches.append([])
            room = LOAD_POINTS
        batches[-1].append(row)
        room -= row["points"]
    return batches


def _joined(parts: Sequence[Points]) -> Points:
    """All points by step, equal ones once."""
    return by_step(Points(*map(np.concatenate, zip(*parts, strict=True)))) if parts else _NONE


async def _extremes_of_long(history: _Long, asked: Asked) -> tuple[Points, int]:
    """Extremes of buckets; rows that lie within a bucket are not decoded.

    The buckets of the points that are known so far are never finer than those of all points. So what is decoded may be
    reduced at once to what these keep, and the rows that must be decoded are known before any of them is.
    """
    buckets = asked.most // PER_BUCKET
    total = int(history.outlines.counts.sum())
    known = by_step(history.outlines.known)
    async for parts in history.decode(history.loose):
        total += sum(len(part.values) for part in parts)
        known = await asyncio.to_thread(_with, known, parts, buckets)
    if total <= SLACK * asked.most:
        chosen = np.ones(len(history.rows), bool)
    else:
        chosen = history.outlines.across(level_for(known, buckets))
    async for parts in history.decode([row for row, wanted in zip(history.rows, chosen, strict=True) if wanted]):
        known = await asyncio.to_thread(_with, known, parts, buckets)
    if total <= SLACK * asked.most and len(known.values) <= asked.most:
        return known, len(known.values)
    return extremes(known, level_for(known, buckets)), total


def _with(known: Points, parts: Sequence[Points], buckets: int) -> Points:
    """What is known, and these parts, or what is kept of both where they are many."""
    if len(known.values) + sum(len(part.values) for part in parts) <= KEPT_POINTS:
        return _joined([known, *parts])
    level = level_for(known, buckets)
    points = _joined([known, *(extremes(part, level) for part in parts)])
    return extremes(points, level_for(points, buckets)) if len(points.values) > KEPT_POINTS else points


async def _even_of_long(history: _Long, asked: Asked) -> tuple[Points, int]:
    """Every so many points one; only those rows are decoded that hold one of them, or that others overlap."""
    loose = [part async for parts in history.decode(history.loose) for part in parts]
    entangled = history.outlines.entangled(_joined(loose))
    more = [row for row, wanted in zip(history.rows, entangled, strict=True) if wanted]
    loose += [part async for parts in history.decode(more) for part in parts]
    known = nan_as_zero(await asyncio.to_thread(_joined, loose))
    apart = history.outlines.take(~entangled)
    total = len(known.values) + int(apart.counts.sum())
    places = locate(known, apart, even_ranks(total, asked.most))
    rows = [row for row, wanted in zip(history.rows, entangled, strict=True) if not wanted]
    return await _at(history, known, rows, places.parts, places.indices), total


async def _at(history: _Long, known: Points, rows: Sequence[asyncpg.Record], parts: Any, indices: Any) -> Points:
    """The points at these places (:func:`locate`)."""
    found = Points._make(np.empty(len(parts), column.dtype) for column in known)
    _put(found, parts == -1, known.take(indices[parts == -1]))
    wanted = np.unique(parts[parts >= 0]).tolist()
    numbers = iter(wanted)
    async for decoded in history.decode([rows[number] for number in wanted]):
        for points in decoded:
            here = parts == next(numbers)
            _put(found, here, nan_as_zero(points).take(indices[here]))
    return found


def _put(columns: Points, where: Any, points: Points) -> None:
    for column, values in zip(columns, points, strict=True):
        column[where] = values
