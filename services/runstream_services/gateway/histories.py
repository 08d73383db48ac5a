"""Reads a history by time, part by part: of any length, never more than a part at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Generic, NamedTuple, TypeVar

import numpy as np

from runstream_projections.chunk import Points, decode, history
from runstream_projections.metric_blocks import METRIC_BLOCKS, history_query
from runstream_projections.sampling import within
from runstream_services.gateway.fields import INT64_MAX, INT64_MIN
from runstream_services.gateway.service import Gateway

T = TypeVar("T")

#: A history of more bytes than this as stored is read by a thread: others' requests are answered meanwhile.
INLINE_BYTES: Final = 128 << 10

#: More points than a part has are read at once, since the first and last chunk may lie on its edges; where that is not
#: enough, as where chunks hold many keys, so many times as many.
SPARE_POINTS: Final = 8_192
MORE: Final = 4

#: (timestamp, step, value)
Point = tuple[int, int, float]


class Wanted(NamedTuple):
    """A metric of a run, and the least and the greatest step of the points that are asked for."""

    run_id: str
    key: str
    start_step: int = INT64_MIN
    end_step: int = INT64_MAX


class Part(NamedTuple, Generic[T]):
    """Points of a history as they were rendered, how many, the last of them, and if more follow it."""

    rendered: T
    points: int
    last: Point | None
    more: bool


async def read_part(
    gateway: Gateway, wanted: Wanted, after: Point | None, size: int, render: Callable[[Points], T]
) -> Part[T]:
    """The next ``size`` points after ``after``, rendered where they are decoded."""
    least = INT64_MIN if after is None else after[0]
    budget = size + SPARE_POINTS
    while True:
        rows = await gateway.fetch(
            (METRIC_BLOCKS.name,),
            lambda suffixes: history_query(suffixes[METRIC_BLOCKS.name]),
            wanted.run_id,
            wanted.key,
            least,
            budget,
            wanted.start_step,
            wanted.end_step,
        )
        chunks = [row["data"] for row in rows]
        call = partial(_part, chunks, rows[0]["complete_below"] if rows else None, wanted, after, size, render)
        part = call() if sum(map(len, chunks)) <= INLINE_BYTES else await asyncio.to_thread(call)
        if part is not None:
            return part
        budget *= MORE


def _part(
    chunks: Sequence[bytes],
    complete_below: int | None,
    wanted: Wanted,
    after: Point | None,
    size: int,
    render: Callable[[Points], T],
) -> Part[T] | None:
    """The ``size`` points after ``after``; None where the chunks do not hold all of them and the one behind them."""
    points = history([decode(data) for data in chunks], wanted.key)
    if after is not None:
        points = points.take(slice(_index_after(points, after), None))
    if complete_below is not None:
        points = points.take(slice(0, np.searchsorted(points.timestamps, complete_below, "left")))
    points = within(points, wanted.start_step, wanted.end_step)
    if complete_below is not None and len(points.values) <= size:
        return None
    page = points.take(slice(0, size))
    last = None
    if len(page.values):
        last = int(page.timestamps[-1]), int(page.steps[-1]), float(page.values[-1])
    return Part(render(page), len(page.values), last, len(points.values) > size)


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
