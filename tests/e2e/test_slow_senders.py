"""Who begins a request and does not end it is given up, and so is who does not read the answer."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from runstream_services.gateway import one_write


async def length_of_body(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that reads bodies and answers with their length."""
    size, more = 0, True
    while more:
        message: Any = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    body = b"%d" % size
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(
    application: ASGIApp = length_of_body, protocol: type[one_write.OneWriteProtocol] = one_write.OneWriteProtocol
) -> AsyncIterator[tuple[str, int]]:
    """An application behind the protocol."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(application, http=protocol, ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()
    finally:
        server.should_exit = True
        await running


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcd",
        b"GET / HTTP/1.1\r\n\r\nGET / HT",
    ],
    ids=repr,
)
async def test_a_request_that_does_not_arrive_is_given_up(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(one_write, "LOOK_S", 0.02)
    monkeypatch.setattr(one_write, "LINGER_S", 0.1)
    async with serving() as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(sent)
        async with asyncio.timeout(30):
            answer = await reader.read()
        assert answer.count(b" 200 ") == sent.count(b"1.1\r\n\r\n")
        last = answer.split(b"\r\n")[-1]
        assert json.loads(last) == {
            "error_code": "TEMPORARILY_UNAVAILABLE",
            "message": "The request did not arrive within 0.16 s.",
        }
        writer.close()


async def test_a_connection_between_requests_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_write, "LOOK_S", 0.2)
    async with serving() as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        for _ in range(3):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(30):
                assert (await reader.readuntil(b"\r\n\r\n0")).startswith(b"HTTP/1.1 200 ")
            monkeypatch.setattr(one_write, "LOOK_S", 0.001)
            await asyncio.sleep(0.25)
        writer.close()


async def test_an_answer_that_is_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_write, "LOOK_S", 0.02)
    ended = asyncio.Event()

    class Observed(one_write.OneWriteProtocol):
        def connection_lost(self, exc: Exception | None) -> None:
            ended.set()
            super().connection_lost(exc)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b" " * (32 << 20)})

    async with serving(application, Observed) as address:
        with socket.create_connection(address) as silent:
            silent.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.wait_for(ended.wait(), 30)


async def test_an_answer_that_is_read_slowly_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_write, "LOOK_S", 0.1)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": b" " * (8 << 20)})

    async with serving(application) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        read = 0
        while piece := await reader.read(1 << 18):
            read += len(piece)
            await asyncio.sleep(0.05)  # all in all longer than an answer may go unread
        assert read > 8 << 20
        writer.close()
