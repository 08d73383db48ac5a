"""The native endpoint of metric histories: columns in place of points, as JSON or as an Arrow stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, NamedTuple, cast

import msgspec
import numpy as np
import orjson

from runstream_projections.chunk import Doubles, Points
from runstream_services.gateway import arrow, render, requests_metrics
from runstream_services.gateway.histories import Part, Point, Wanted, read_part
from runstream_services.gateway.http import Answer, Request
from runstream_services.gateway.parts import batches, joined
from runstream_services.gateway.requests_metrics import GetMetricColumns
from runstream_services.gateway.samples import RUNS_AT_ONCE, Asked, extreme_samples
from runstream_services.gateway.service import Gateway

#: A series of more points comes in several parts.
PART_POINTS: Final = 131_072


class MetricSeries(msgspec.Struct, frozen=True):
    """Points of a metric of a run: three columns of one length.

    ``timestamps`` are in ms; NaN and the infinities are the strings ``NaN``, ``Infinity``, ``-Infinity``. ``points`` is
    how many there are of those that were asked for: as many as are here, unless they are ``sampled``. A long series
    that is not sampled comes as several of these, one after the other.
    """

    run_id: str
    key: str
    steps: list[int]
    timestamps: list[int]
    values: list[float | str]
    sampled: bool
    points: int


class MetricHistories(msgspec.Struct, frozen=True):
    """The answer of ``metrics/history`` as JSON: key by key, of each run by run, in the order asked for."""

    series: list[MetricSeries]


class _Found(NamedTuple):
    """Points of a series, and how many there are: more, where these are a sample."""

    run_id: str
    key: str
    points: Points
    total: int

    @property
    def sampled(self) -> bool:
        return self.total > len(self.points.values)


#: Renders what was found of some series.
_Render = Callable[[Sequence[_Found]], bytes]


async def history(gateway: Gateway, request: Request) -> Answer:
    """``POST metrics/history``."""
    return await _history(gateway, requests_metrics.parse_get_metric_columns(request.body), request)


async def history_by_query(gateway: Gateway, request: Request) -> Answer:
    """``GET metrics/history``."""
    return await _history(gateway, requests_metrics.parse_get_metric_columns_query(request.query), request)


async def _history(gateway: Gateway, asked: GetMetricColumns, request: Request) -> Answer:
    """By (timestamp, step, value), or with ``max_points`` by (step, timestamp, value)."""
    read = _whole if asked.max_points is None else _sampled
    if not _wants_arrow(request):
        return await joined(b'{"series":[', read(gateway, asked, _json), b"]}")
    runs = {run_id: place for place, run_id in enumerate(asked.run_ids)}
    keys = {key: place for place, key in enumerate(asked.keys)}

    def batches_of(some: Sequence[_Found]) -> bytes:
        return b"".join(
            arrow.batch(
                runs[found.run_id],
                keys[found.key],
                found.points,
                {"points": str(found.total), "sampled": str(found.sampled).lower()},
            )
            for found in some
        )

    begin = arrow.begin(asked.run_ids, asked.keys)
    return await joined(
        begin, read(gateway, asked, batches_of), arrow.END, between=b"", content_type=arrow.CONTENT_TYPE
    )


def _wants_arrow(request: Request) -> bool:
    return any(name == b"accept" and arrow.CONTENT_TYPE in value.lower() for name, value in request.headers)


async def _whole(gateway: Gateway, asked: GetMetricColumns, rendering: _Render) -> AsyncIterator[bytes]:
    for key in asked.keys:
        for run_id in asked.run_ids:
            wanted = Wanted(run_id, key, asked.start_step, asked.end_step)
            last: Point | None = None
            more = True
            while more:
                part = await _part(gateway, wanted, last, rendering)
                last, more = part.last, part.more
                yield part.rendered


async def _part(gateway: Gateway, wanted: Wanted, last: Point | None, rendering: _Render) -> Part[bytes]:
    def rendered(points: Points) -> bytes:
        return rendering([_Found(wanted.run_id, wanted.key, points, len(points.values))])

    return await read_part(gateway, wanted, last, PART_POINTS, rendered)


async def _sampled(gateway: Gateway, asked: GetMetricColumns, rendering: _Render) -> AsyncIterator[bytes]:
    assert asked.max_points is not None
    for key in asked.keys:
        sample = Asked(key, asked.start_step, asked.end_step, asked.max_points)
        for run_ids in batches(asked.run_ids, RUNS_AT_ONCE):
            samples = await extreme_samples(gateway, run_ids, sample)
            found = [_Found(run_id, key, points, total) for run_id, points, total in samples]
            yield await asyncio.to_thread(rendering, found)


def _json(some: Sequence[_Found]) -> bytes:
    return b",".join(map(_series, some))


def _series(found: _Found) -> bytes:
    """Its JSON; numpy's columns are written as they are."""
    series = MetricSeries(
        run_id=found.run_id,
        key=found.key,
        steps=cast("list[int]", found.points.steps),
        timestamps=cast("list[int]", found.points.timestamps),
        values=_values(found.points.values),
        sampled=found.sampled,
        points=found.total,
    )
    return orjson.dumps(msgspec.structs.asdict(series), option=orjson.OPT_SERIALIZE_NUMPY)


def _values(values: Doubles) -> list[float | str]:
    return cast("list[float | str]", values) if np.isfinite(values).all() else render.numbers(values.tolist())
