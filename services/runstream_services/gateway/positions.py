"""Positions at the edge: answers to writes name theirs, and reads can wait for one."""

from __future__ import annotations

from typing import Final

import msgspec

from runstream_schemas.answers import Problem, Reached
from runstream_schemas.errors import Unavailable, invalid
from runstream_services.gateway import render
from runstream_services.gateway.fields import INT64_MAX, Message, int64
from runstream_services.gateway.http import Answer, Handler, Request
from runstream_services.gateway.service import DEADLINE_S, Emitted, Gateway

#: The header of an answer to a write: where its event is in the log.
POSITION: Final = b"x-runstream-position"

#: The header of a read that is to hold this position; by GET also the query's ``wait_position``.
WAIT_POSITION: Final = b"x-runstream-wait-position"

#: The longest that ``/wait`` may be told to take.
MAX_TIMEOUT_MS: Final = 60_000

_encode: Final = msgspec.json.Encoder().encode
_WAIT = Message({"position": int64, "timeout_ms": int64})
_READ = Message({"wait_position": int64})


def written(emitted: Emitted, body: bytes = render.EMPTY, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Answer:
    """The answer to a write."""
    return Answer(body, ((POSITION, b"%d" % emitted.position), *headers))


def not_yet(why: Unavailable, projections: dict[str, int] | None = None) -> Answer:
    """The 503 of the native API, whose clients try again as often as it takes: soon."""
    problem = Problem("TEMPORARILY_UNAVAILABLE", str(why), projections or {})
    return Answer(_encode(problem), ((b"retry-after", b"1"),), 503)


def after_position(handler: Handler) -> Handler:
    """The same read, which waits first where it is asked for a position; past the deadline it is a 503."""

    async def read(gateway: Gateway, request: Request) -> Answer:
        position = _asked_position(request)
        if position:
            await gateway.wait_for(position, DEADLINE_S)
        return await handler(gateway, request)

    return read


def _asked_position(request: Request) -> int:
    for name, value in request.headers:
        if name == WAIT_POSITION:
            got = _READ.from_query([("wait_position", value.decode("latin-1"))])
            break
    else:
        got = _READ.from_query(request.query)
    return _in_range(got.get("wait_position") or 0, "wait_position")


def _in_range(number: int, name: str, most: int = INT64_MAX) -> int:
    if not 0 <= number <= most:
        raise invalid(f"Invalid value {number} for parameter '{name}' supplied: it goes from 0 to {most}.")
    return number


async def wait(gateway: Gateway, request: Request) -> Answer:
    """``GET /wait``: answers when every projection holds ``position``, or 503 after ``timeout_ms``.

    Both say how far the projections are.
    """
    got = _WAIT.from_query(request.query)
    if got.get("position") is None:
        raise invalid("Missing value for required parameter 'position'.")
    position = _in_range(got["position"], "position")
    given_ms = got.get("timeout_ms")
    timeout_ms = _in_range(int(1_000 * DEADLINE_S) if given_ms is None else given_ms, "timeout_ms", MAX_TIMEOUT_MS)
    try:
        await gateway.wait_for(position, timeout_ms / 1_000)
    except Unavailable as late:
        return not_yet(late, gateway.positions())
    return Answer(_encode(Reached(position, gateway.positions())))
