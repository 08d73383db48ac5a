"""uvicorn's HTTP protocol with one write per answer, and bounds on how large a request's head is and how long it takes.

uvicorn writes an answer's head and its body apart, and uvloop hands each to the kernel at once: two packets, two
wake-ups of the client. On loopback that is a tenth of a small log call's time.

uvicorn also keeps a URL and headers of any size. Here a request with more of them than :data:`MAX_HEAD_BYTES` is
answered 431, and nothing more is read from its connection; one that is not whole after 40 s is answered 408. Where
nothing of an answer is read for 40 s, the connection is cut.
"""

from __future__ import annotations

import asyncio
import resource
from functools import cache
from typing import Any, Final

import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

#: The largest URL and headers together; browsers and proxies send a few kilobytes.
MAX_HEAD_BYTES: Final = 64 << 10

#: Requests of one connection that wait behind one another. MLflow's client sends none before the answer to the last.
MAX_PIPELINED: Final = 100

#: How long the sender of a refused request may go on sending before the connection is cut: cut at once, it would not
#: get to read the answer.
LINGER_S: Final = 5.0


#: How long a request may take to arrive, while the server reads it: so many looks, so many seconds apart. Longer than a
#: large body may take (``http.py``). A timer for each request would cost a tenth of a small log call.
LOOKS: Final = 8
LOOK_S: Final = 5.0


#: Files that clients cannot take: connections to PostgreSQL have to be opened again while they knock.
RESERVED_FILES: Final = 64


@cache
def most_connections() -> int:
    """Connections of clients that this process can hold."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return files - min(RESERVED_FILES, files // 2)


class OneWriteProtocol(HttpToolsProtocol):
    """Joins two writes that follow each other within one turn of the event loop: a head and its body.

    The size of a head is known once it is whole. Until then, reads that bring nothing but a part of a head (or of the
    headers after a body in chunks) are added up; a look at all headers is only taken where they may be too many.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._refusal: bytes | None = None
        self._went_on = False
        self._read_bytes = 0
        self._earlier_bytes = 0
        self._head_bytes = 0
        self._whole = False
        self._looks = 0
        self._unread_bytes = 0
        self._unread_looks = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wrap the transport of a new connection."""
        super().connection_made(_Joined(transport, asyncio.get_running_loop()))  # type: ignore[arg-type]
        self._next_look = self.loop.call_later(LOOK_S, self._look)
        if len(self.connections) > most_connections():
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection ended."""
        self._next_look.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        """Refuse a request that is still not whole; the time in which the server does not read is not counted.

        Cut a connection whose client does not read: what it does not read is held in memory.
        """
        unread = self.transport.get_write_buffer_size()
        self._unread_looks = self._unread_looks + 1 if 0 < self._unread_bytes <= unread else 0
        self._unread_bytes = unread
        if self._unread_looks > LOOKS:
            self.transport.abort()
            return
        if not self._whole and not self.flow.read_paused:
            self._looks += 1
            if self._looks > LOOKS:
                why = f"The request did not arrive within {LOOKS * LOOK_S:g} s."
                self._refuse(408, "TEMPORARILY_UNAVAILABLE", why)
                return
        self._next_look = self.loop.call_later(LOOK_S, self._look)

    def data_received(self, data: bytes) -> None:
        """Parse what was read."""
        if self._refusal is not None:
            return
        self._read_bytes = len(data)
        super().data_received(data)
        if self._went_on:
            self._went_on = False
            self._earlier_bytes, self._head_bytes = self._read_bytes, 0
            return
        self._head_bytes += self._read_bytes
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_head()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._went_on = True
        self._whole = False
        self._looks = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A request's head is whole."""
        self._went_on = True
        if self._earlier_bytes + self._head_bytes + self._read_bytes > MAX_HEAD_BYTES:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > MAX_HEAD_BYTES:
                self._refuse_head()
                raise ValueError("the parser ends here")
        super().on_headers_complete()
        if len(self.pipeline) > MAX_PIPELINED:
            why = f"Over {MAX_PIPELINED} requests were sent on one connection without waiting for their answers."
            self._refuse(400, "BAD_REQUEST", why)
            raise ValueError("the parser ends here")

    def on_body(self, body: bytes) -> None:
        """A part of a request's body."""
        self._went_on = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._whole = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser does not take for a request."""
        if self._refusal is None:
            self._refuse(400, "BAD_REQUEST", "What was sent is not an HTTP/1.1 request.")

    def _refuse_head(self) -> None:
        why = f"The request's URL and headers are over {MAX_HEAD_BYTES} bytes: send what is long in a body."
        self._refuse(431, "INVALID_PARAMETER_VALUE", why)

    def on_response_complete(self) -> None:
        """A request is answered; where it was the last one before a refused one, that follows."""
        super().on_response_complete()
        if self._refusal is not None and self.cycle.response_complete:
            self._end(self._refusal)

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Read nothing more, and answer once the requests before this one are answered."""
        body = orjson.dumps({"error_code": code, "message": message})
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self._next_look.cancel()
        self._refusal = STATUS_LINE[status] + head + body
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self._end(self._refusal)
        elif cycle.more_body and self.pipeline:
            self.transport.close()
        elif cycle.more_body:
            cycle.disconnected = True  # whoever reads the body learns that the rest will not come
            cycle.message_event.set()
            self._end(self._refusal)

    def _end(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.write_eof()
            self.loop.call_later(LINGER_S, self.transport.close)


class _Joined:
    """A transport that writes with the second of two writes, or at the end of the turn; all else is the transport's."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Keep a first part until the second comes or the turn ends."""
        self._parts.append(data)
        if len(self._parts) == 1:
            self._loop.call_soon(self._flush)
        else:
            self._flush()

    def write_eof(self) -> None:
        """Write what is kept, then end this direction."""
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Write what is kept, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))
