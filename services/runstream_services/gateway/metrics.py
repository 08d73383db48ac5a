"""Endpoints of metric histories in MLflow's API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

from runstream_projections.chunk import Points
from runstream_schemas.errors import invalid
from runstream_services.gateway import render, requests_metrics
from runstream_services.gateway.fields import INT64_MAX, INT64_MIN
from runstream_services.gateway.histories import Part, Point, Wanted, read_part
from runstream_services.gateway.http import Answer, Request
from runstream_services.gateway.page_token import page_token, read_token
from runstream_services.gateway.parts import batches, joined
from runstream_services.gateway.samples import RUNS_AT_ONCE, Asked, Sample, even_samples
from runstream_services.gateway.service import Gateway

#: What is asked for in one answer is read in parts of so many points, and sent part by part.
PART_POINTS: Final = 50_000
ALL_POINTS: Final = 1 << 62


async def get_history(gateway: Gateway, request: Request) -> Answer:
    """``metrics/get-history``: by (timestamp, step, value); an unknown run or key has an empty one, as in stock.

    A page ends with a point, and the next begins after it, so that points that arrive meanwhile shift nothing.
    """
    asked = requests_metrics.parse_get_metric_history(request.query)
    wanted = Wanted(asked.run_id, asked.metric_key)
    left = asked.max_results or ALL_POINTS
    part = await _read(gateway, wanted, _after(asked.page_token), left)
    if not part.points:
        return Answer(render.EMPTY)
    begin = b'{"metrics":[' + part.rendered
    if not part.more or part.points == left:
        return Answer(begin + _end(part))
    return Answer(begin, rest=_rest(gateway, wanted, part, left - part.points))


async def _rest(gateway: Gateway, wanted: Wanted, part: Part[bytes], left: int) -> AsyncIterator[bytes]:
    """The parts after the first one. Where one cannot be read the answer breaks off, and clients see that."""
    while part.more and left:
        part = await _read(gateway, wanted, part.last, left)
        left -= part.points
        yield b"," + part.rendered
    yield _end(part)


async def _read(gateway: Gateway, wanted: Wanted, after: Point | None, left: int) -> Part[bytes]:
    """The next part, of ``left`` points at the most, without the brackets of their list."""

    def rendered(points: Points) -> bytes:
        return render.dump(render.history(wanted.key, points))[1:-1]

    return await read_part(gateway, wanted, after, min(left, PART_POINTS), rendered)


def _end(part: Part[bytes]) -> bytes:
    if part.last is None or not part.more:
        return b"]}"
    timestamp, step, value = part.last
    return b'],"next_page_token":' + render.dump(page_token([timestamp, step, value.hex()])) + b"}"


async def get_history_bulk(gateway: Gateway, request: Request) -> Answer:
    """``metrics/get-history-bulk``: run by run, by (timestamp, step, value); later runs may find no room left."""
    asked = requests_metrics.parse_get_metric_history_bulk(request.query)
    left = asked.max_results
    parts: list[bytes] = []
    for run_id in sorted(set(asked.run_ids)):
        if not left:
            break

        def rendered(points: Points, run_id: str = run_id) -> bytes:
            return render.dump(render.run_history(run_id, asked.metric_key, points))[1:-1]

        part = await read_part(gateway, Wanted(run_id, asked.metric_key), None, left, rendered)
        left -= part.points
        if part.points:
            parts.append(part.rendered)
    return Answer(b'{"metrics":[' + b",".join(parts) + b"]}")


async def get_history_bulk_interval(gateway: Gateway, request: Request) -> Answer:
    """``metrics/get-history-bulk-interval``: of each run, in the order asked for, an even sample by step."""
    asked = requests_metrics.parse_get_metric_history_bulk_interval(request.query)
    sample = Asked(asked.metric_key, asked.start_step, asked.end_step, asked.max_results)

    async def parts() -> AsyncIterator[bytes]:
        for run_ids in batches(asked.run_ids, RUNS_AT_ONCE):
            yield await asyncio.to_thread(_rendered, asked.metric_key, await even_samples(gateway, run_ids, sample))

    return await joined(b'{"metrics":[', parts(), b"]}", empty=render.EMPTY)


def _rendered(key: str, samples: Sequence[Sample]) -> bytes:
    points = [point for run_id, points, _ in samples for point in render.run_history(run_id, key, points)]
    return render.dump(points)[1:-1]


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
