"""Long answers, made part by part as the client reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TypeVar

from runstream_services.gateway.http import JSON, Answer

T = TypeVar("T")


async def joined(
    begin: bytes,
    parts: AsyncIterator[bytes],
    end: bytes,
    *,
    between: bytes = b",",
    empty: bytes | None = None,
    content_type: bytes = JSON,
) -> Answer:
    """The answer of these parts, the empty ones left out; ``empty`` is the answer where all of them are.

    What goes wrong before the second part is an error of the whole answer; after it, the answer breaks off.
    """
    first = await _next(parts)
    if not first:
        return Answer(begin + end if empty is None else empty, content_type=content_type)
    second = await _next(parts)
    if not second:
        return Answer(begin + first + end, content_type=content_type)
    return Answer(begin, content_type=content_type, rest=_rest(first, second, parts, end, between))


async def _next(parts: AsyncIterator[bytes]) -> bytes:
    async for part in parts:
        if part:
            return part
    return b""


async def _rest(
    first: bytes, part: bytes, parts: AsyncIterator[bytes], end: bytes, between: bytes
) -> AsyncIterator[bytes]:
    yield first
    while part:
        if between:
            yield between
        yield part  # as it is: putting a few bytes before millions copies them
        part = await _next(parts)
    yield end


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """These items, so many at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
