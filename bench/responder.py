"""A responder that does nothing but answer: ``python -m bench.responder LENGTH``.

It counts bytes instead of parsing: every ``LENGTH`` bytes on a connection are one request, answered with ``{}``. So
what :mod:`bench.ceiling` measures is wrk. Prints its port, then serves until it is killed.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final, cast

import uvloop

ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Counter(asyncio.Protocol):
    """Answers once per ``length`` bytes."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._missing = length
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are not subclasses of asyncio's

    def data_received(self, data: bytes) -> None:
        self._missing -= len(data)
        while self._missing <= 0:
            self._missing += self._length
            assert self._transport is not None
            self._transport.write(ANSWER)


async def serve(length: int) -> None:
    """Listen on a free port of 127.0.0.1 and print it."""
    server = await asyncio.get_running_loop().create_server(lambda: Counter(length), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
