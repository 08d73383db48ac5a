"""Endpoints of metric histories."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

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

After = tuple[int, int, float] | None


async def get_history(gateway: Gateway, request: Request) -> Answer:
    """``metrics/get-history``: by (timestamp, step, value); an unknown run or key has an empty one, as in stock.

    A page ends with a point, and the next begins after it, so that points that arrive meanwhile shift nothing.
    """
    asked = requests_runs.parse_get_metric_history(request.query)
    left = asked.max_results
    points, more = await _read(gateway, asked, _after(asked.page_token), left)
    if not len(points.values):
        return Answer(render.EMPTY)
    if left is not None:
        left -= len(points.values)
    begin = b'{"metrics":[' + _rendered(asked.metric_key, points)
    if not more or left == 0:
        return Answer(begin + _end(points, more))
    return Answer(begin, rest=_rest(gateway, asked, points, left))


async def _rest(gateway: Gateway, asked: GetMetricHistory, points: Points, left: int | None) -> AsyncIterator[bytes]:
    """The parts after ``points``, the first. Where one cannot be read the answer breaks off, and clients see that."""
    more = True
    while more and left != 0:
        points, more = await _read(gateway, asked, _last(points), left)
        if left is not None:
            left -= len(points.values)
        yield b"," + _rendered(asked.metric_key, points)
    yield _end(points, more)


def _last(points: Points) -> tuple[int, int, float]:
    return int(points.timestamps[-1]), int(points.steps[-1]), float(points.values[-1])


def _end(points: Points, more: bool) -> bytes:
    if not more:
        return b"]}"
    timestamp, step, value = _last(points)
    return b'],"next_page_token":' + render.dump(page_token([timestamp, step, value.hex()])) + b"}"


def _rendered(key: str, points: Points) -> bytes:
    """Points as JSON, between the brackets of their list."""
    columns = points.steps.tolist(), points.timestamps.tolist(), points.values.tolist()
    return render.dump(render.history(key, *columns))[1:-1]


async def _read(gateway: Gateway, asked: GetMetricHistory, after: After, left: int | None) -> tuple[Points, bool]:
    """The next points of a part, ``left`` at the most, and whether there are more behind them."""
    size = PART_POINTS if left is None else min(left, PART_POINTS)
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
        complete_below = rows[0]["complete_below"] if rows else None
        if sum(map(len, chunks)) <= INLINE_BYTES:
            points = _known(chunks, complete_below, asked.metric_key, after)
        else:
            points = await asyncio.to_thread(_known, chunks, complete_below, asked.metric_key, after)
        if complete_below is None or len(points.values) > size:
            return points.take(slice(0, size)), len(points.values) > size
        budget *= MORE


def _known(chunks: Sequence[bytes], complete_below: int | None, key: str, after: After) -> Points:
    """The points after ``after`` as far as the chunks hold them all."""
    points = history([decode(data) for data in chunks], key)
    if after is not None:
        points = points.take(slice(_index_after(points, after), None))
    if complete_below is not None:
        points = points.take(slice(0, np.searchsorted(points.timestamps, complete_below, "left")))
    return points


def _index_after(points: Points, after: tuple[int, int, float]) -> int:
    """The index of the first point greater than ``after``, in the order of (timestamp, step, value), NaN last."""
    timestamp, step, value = after
    low, high = (
        np.searchsorted(points.timestamps, timestamp, "left"),
        np.searchsorted(points.timestamps, timestamp, "right"),
    )
    steps = points.steps[low:high]
    first, last = low + np.searchsorted(steps, step, "left"), low + np.searchsorted(steps, step, "right")
    return int(first + np.searchsorted(points.values[first:last], value, "right"))


def _after(token: str | None) -> After:
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
