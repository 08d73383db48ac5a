"""URLs and headers are bounded, and requests that follow each other on a connection are answered in order."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]
import pytest

from tests.server import Server

MIB = 1 << 20
URL = b"/api/2.0/mlflow/experiments/get?experiment_id=0"
HEAD = b"Host: localhost\r\nContent-Type: application/json\r\n"
POST = b"POST /api/2.0/mlflow/experiments/search HTTP/1.1\r\n" + HEAD


def get(*headers: bytes) -> bytes:
    return b"".join((b"GET ", URL, b" HTTP/1.1\r\n", HEAD, *headers, b"\r\n"))


def search(padding: int = 0) -> bytes:
    body = b'{"max_results": 1}' + b" " * padding
    return b"%bContent-Length: %d\r\n\r\n%b" % (POST, len(body), body)


def search_in_chunks(padding: int) -> bytes:
    chunks = b'{"max_results":', b" " * (padding + 1), b"1}"
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return POST + b"Transfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\nX-After: y\r\n\r\n"


def answers(server: Server, sent: bytes, most: int, *, piece: int = MIB) -> list[tuple[int, Any]]:
    """The first ``most`` answers on one connection, as statuses and bodies; fewer where the server ends it."""
    found = []
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        for at in range(0, len(sent), piece):
            connection.sendall(sent[at : at + piece])
        stream = connection.makefile("rb")
        while len(found) < most and (line := stream.readline()):
            headers = dict(header.lower().split(b": ", 1) for header in iter(stream.readline, b"\r\n"))
            assert headers[b"content-type"] == b"application/json\r\n"
            found.append((int(line.split()[1]), json.loads(stream.read(int(headers[b"content-length"])))))
    return found


def filler(head_bytes: int) -> bytes:
    """A header that makes the head of :func:`get` so large."""
    others = len(URL) + sum(len(line) + 2 for line in HEAD.split(b"\r\n")[:-1])
    return b"X: " + b"x" * (head_bytes - others - len("X: \r\n")) + b"\r\n"


TOO_LARGE = {
    "a header": get(b"X: " + b"x" * 10 * MIB + b"\r\n"),
    "a URL": b"GET /" + b"x" * 10 * MIB + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "many headers": get(b"X: y\r\n" * (2 * MIB)),
    "headers after a body": search_in_chunks(0).replace(b"X-After: y\r\n", b"X: y\r\n" * (2 * MIB)),
    "one byte too much": get(filler((64 << 10) + 1)),
}


@pytest.mark.parametrize("which", TOO_LARGE)
def test_a_head_that_is_too_large_is_refused_and_does_not_grow_the_server(standing_server: Server, which: str) -> None:
    before = psutil.Process(standing_server.pid).memory_info().rss
    [(status, body)] = answers(standing_server, TOO_LARGE[which], most=2)
    assert (status, body["error_code"]) == (431, "INVALID_PARAMETER_VALUE")
    assert "URL and headers are over 65536 bytes" in body["message"]
    assert psutil.Process(standing_server.pid).memory_info().rss - before < 8 * MIB
    assert [status for status, _ in answers(standing_server, get(), most=1)] == [200]


@pytest.mark.parametrize("piece", [MIB, 40_000, 999])
def test_a_head_of_64_kib_is_read_again_and_again(standing_server: Server, piece: int) -> None:
    sent = get(filler(64 << 10)) * 5
    assert [status for status, _ in answers(standing_server, sent, most=5, piece=piece)] == [200] * 5


@pytest.mark.parametrize("piece", [8 * MIB, 100_000, 7])
def test_requests_that_follow_each_other_are_answered_in_order(standing_server: Server, piece: int) -> None:
    padding = 0 if piece == 7 else 300_000
    several = get() + search(padding) + search_in_chunks(padding) + get(b"X: y\r\n" * 100) + search()
    found = answers(standing_server, several * 3, most=15, piece=piece)
    assert [status for status, _ in found] == [200] * 15
    assert ["experiment" in body for _, body in found] == [True, False, False, True, False] * 3


def test_requests_before_a_head_that_is_too_large_are_answered(standing_server: Server) -> None:
    found = answers(standing_server, get() + search() + get(b"X: y\r\n" * MIB), most=3)
    assert [status for status, _ in found] == [200, 200, 431]
