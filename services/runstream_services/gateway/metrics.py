"""Endpoints of metric histories."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from runstream_projections.chunk import Points, decode, history
from runstream_projections.metric_blocks import METRIC_BLOCKS, history_query
from runstream_schemas.errors import invalid
from runstream_services.gateway import render, requests_runs
from runstream_services.gateway.fields import INT64_MAX, INT64_MIN
from runstream_services.gateway.http import Answer, Request
from runstream_services.gateway.page_token import page_token, read_token
from runstream_services.gateway.requests_runs import GetMetricHistory
from runstream_services.gateway.service import Gateway

#: A history of more bytes than this as stored is read by a thread: others' requests are answered meanwhile.
INLINE_BYTES: Final = 128 << 10

#: More points than a page has are read at once, since the first and last chunk may lie on its edges; where that is not
#: enough, as where chunks hold many keys, so many times as many.
SPARE_POINTS: Final = 8_192
MORE: Final = 4

#: What is asked for in one answer is read in parts of so many points, and sent part by part.
PART_POINTS: Final = 50_000
ALL_POINTS: Final = 1 << 62

Point = tuple[int, int, float]


class _Part(NamedTuple):
    """Points of a history as JSON, between the brackets of their list; the last of them, and if more follow it."""

    json: bytes
    points: int
    last: Point | None
    more: bool


async def get_history(gateway: Gateway, request: Request) -> Answer:
    """``metrics/get-history``: by (timestamp, step, value); an unknown run or key has an empty one, as in stock.

    A page ends with a point, and the next begins after it, so that points that arrive meanwhile shift nothing.
    """
    asked = requests_runs.parse_get_metric_history(request.query)
    left = asked.max_results or ALL_POINTS
    part = await _read(gateway, asked, _after(asked.page_token), left)
    if not part.points:
        return Answer(render.EMPTY)
    begin = b'{"metrics":[' + part.json
    if not part.more or part.points == left:
        return Answer(begin + _end(part))
    return Answer(begin, rest=_rest(gateway, asked, part, left - part.points))


async def _rest(gateway: Gateway, asked: GetMetricHistory, part: _Part, left: int) -> AsyncIterator[bytes]:
    """The parts after the first one. Where one cannot be read the answer breaks off, and clients see that."""
    while part.more and left:
        part = await _read(gateway, asked, part.last, left)
        left -= part.points
        yield b"," + part.json
    yield _end(part)


def _end(part: _Part) -> bytes:
    if part.last is None or not part.more:
        return b"]}"
    timestamp, step, value = part.last
    return b'],"next_page_token":' + render.dump(page_token([timestamp, step, value.hex()])) + b"}"


async def _read(gateway: Gateway, asked: GetMetricHistory, after: Point | None, left: int) -> _Part:
    """The next part, of ``left`` points at the most."""
    size = min(left, PART_POINTS)
    least = INT64_MIN if after is None else after[0]
    budget = size + SPARE_POINTS
    while True:
        rows = await gateway.fetch(
            (METRIC_BLOCKS.name,),
            lambda suffixes: history_query(suffixes[METRIC_BLOCKS.name]),
            asked.run_id,
            asked.metric_key,
            least,
            budget,
        )
        chunks = [row["data"] for row in rows]
        call = partial(_part, chunks, rows[0]["complete_below"] if rows else None, asked.metric_key, after, size)
        part = call() if sum(map(len, chunks)) <= INLINE_BYTES else await asyncio.to_thread(call)
        if part is not None:
            return part
        budget *= MORE


def _part(
    chunks: Sequence[bytes], complete_below: int | None, key: str, after: Point | None, size: int
) -> _Part | None:
    """The ``size`` points after ``after``; None where the chunks do not hold all of them and the one behind them."""
    points = history([decode(data) for data in chunks], key)
    if after is not None:
        points = points.take(slice(_index_after(points, after), None))
    if complete_below is not None:
        points = points.take(slice(0, np.searchsorted(points.timestamps, complete_below, "left")))
        if len(points.values) <= size:
            return None
    page = points.take(slice(0, size))
    steps, timestamps, values = page.steps.tolist(), page.timestamps.tolist(), page.values.tolist()
    last = (timestamps[-1], steps[-1], values[-1]) if values else None
    json = render.dump(render.history(key, steps, timestamps, values))[1:-1]
    return _Part(json, len(values), last, len(points.values) > size)


def _index_after(points: Points, after: Point) -> int:
    """The index of the first point greater than ``after``, in the order of (timestamp, step, value), NaN last."""
    timestamp, step, value = after
    low, high = (
        np.searchsorted(points.timestamps, timestamp, "left"),
        np.searchsorted(points.timestamps, timestamp, "right"),
    )
    steps = points.steps[low:high]
    first, last = low + np.searchsorted(steps, step, "left"), low + np.searchsorted(steps, step, "right")
    return int(first + np.searchsorted(points.values[first:last], value, "right"))


def _after(token: str | None) -> Point | None:
    if not token:
        return None
    match read_token(token):
        case [int(timestamp), int(step), str(value)] if _fit(timestamp, step):
            try:
                return timestamp, step, float.fromhex(value)
            except (ValueError, OverflowError):
                pass
    raise invalid("Invalid value for parameter 'page_token': it is not one that this endpoint gave.")


def _fit(*numbers: int) -> bool:
    return all(INT64_MIN <= number <= INT64_MAX for number in numbers)
