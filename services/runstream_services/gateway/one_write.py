"""uvicorn's HTTP protocol with one write per answer, and with a limit for what comes before a body.

uvicorn writes an answer's head and its body apart, and uvloop hands each to the kernel at once: two packets, two
wake-ups of the client. On loopback that is a tenth of a small log call's time.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: The longest request line and headers, together. uvicorn keeps them whatever they are.
MAX_HEAD_BYTES: Final = 64 << 10

_TOO_LONG: Final = (
    b'{"error_code":"INVALID_PARAMETER_VALUE","message":"The request line and headers are over 65536 bytes."}'
)
_REFUSAL: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(_TOO_LONG), _TOO_LONG)
)


class OneWriteProtocol(HttpToolsProtocol):
    """Joins two writes that follow each other within one turn of the event loop: a head and its body."""

    _head_bytes = 0  # of a head that is not complete; -1 within a body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wrap the transport of a new connection."""
        super().connection_made(_Joined(transport, asyncio.get_running_loop()))  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """Refuse a head that grows too long, whether or not it comes to an end."""
        if self._head_bytes > MAX_HEAD_BYTES:
            if not self.transport.is_closing():
                self.transport.write(_REFUSAL)
                self.transport.close()
            return
        if self._head_bytes >= 0:
            self._head_bytes += len(data)
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """A head is complete."""
        self._head_bytes = -1
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next message begins with a head."""
        self._head_bytes = 0
        super().on_message_complete()


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

    def close(self) -> None:
        """Write what is kept, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))
