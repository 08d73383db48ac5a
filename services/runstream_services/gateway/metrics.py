"""Endpoints of metric histories."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
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
ALL_POINTS: Final = 1 << 62


async def get_history(gateway: Gateway, request: Request) -> Answer:
    """``metrics/get-history``: by (timestamp, step, value); an unknown run or key has an empty one, as in stock.

    A page ends with a point, and the next begins after it, so that points that arrive meanwhile shift nothing.
    """
    asked = requests_runs.parse_get_metric_history(request.query)
    after = _after(asked.page_token)
    least = INT64_MIN if after is None else after[0]
    budget = asked.max_results + SPARE_POINTS if asked.max_results else ALL_POINTS
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
            answer = _page(chunks, complete_below, asked, after)
        else:
            answer = await asyncio.to_thread(_page, chunks, complete_below, asked, after)
        if answer is not None:
            return answer
        budget *= MORE


def _page(
    chunks: Sequence[bytes],
    complete_below: int | None,
    asked: GetMetricHistory,
    after: tuple[int, int, float] | None,
) -> Answer | None:
    """The points after ``after``; None where the chunks do not hold a whole page of them and the point behind it."""
    points = history([decode(data) for data in chunks], asked.metric_key)
    if after is not None:
        points = points.take(slice(_index_after(points, after), None))
    if complete_below is not None:
        points = points.take(slice(0, np.searchsorted(points.timestamps, complete_below, "left")))
        if asked.max_results is None or len(points.values) <= asked.max_results:
            return None
    total = len(points.values)
    page = points.take(slice(0, asked.max_results)) if asked.max_results else points
    steps, timestamps, values = page.steps.tolist(), page.timestamps.tolist(), page.values.tolist()
    body: dict[str, object] = {}
    if values:
        body["metrics"] = render.history(asked.metric_key, steps, timestamps, values)
    if len(values) < total:
        body["next_page_token"] = page_token([timestamps[-1], steps[-1], values[-1].hex()])
    return Answer(render.dump(body))


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


def _after(token: str | None) -> tuple[int, int, float] | None:
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
