"""What ``runstream status`` makes of an answer, whoever gave it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import msgspec
import pytest
from rich.console import Console

from runstream.status import Away, ask, drawn, read
from runstream_schemas.status import (
    MOST_COUNTED,
    DeadLetter,
    LogStatus,
    Parked,
    Process,
    ProjectionStatus,
    Rejected,
    Status,
    Stored,
    Waiting,
)


@contextmanager
def answering(status: int, body: bytes, location: str = "") -> Iterator[tuple[str, list[str | None]]]:
    """A server that is something else; its URL, and the Authorization of each request."""
    seen: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            self.send_response(status)
            self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", seen
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "complaint"),
    [
        (200, b"hello", "{url} answered what is not the status of a Runstream server: "),
        (200, b'{"version":1}', "{url} answered what is not the status of a Runstream server: "),
        (401, b"", "{url} does not know the token in RUNSTREAM_TOKEN"),
        (403, b'{"message":"only \\u001b[31mred"}', "{url} answered 403: only \N{REPLACEMENT CHARACTER}[31mred"),
        (404, b"<html>", "{url} answered 404: is it a Runstream server?"),
        (302, b"", "{url} answered 302: is it a Runstream server?"),
    ],
)
def test_what_is_no_status_is_said_and_a_token_goes_nowhere_else(status: int, body: bytes, complaint: str) -> None:
    with answering(200, b"{}") as (elsewhere, stolen), answering(status, body, elsewhere) as (url, seen):
        with pytest.raises(Away) as away:
            read(url, ask(url, "secret"))
        assert str(away.value).startswith(complaint.format(url=url))
        assert len(str(away.value).splitlines()) == 1
    assert (seen, stolen) == (["Bearer secret"], [])


def test_a_token_that_is_asked_for_is_named() -> None:
    with answering(401, b"") as (url, seen), pytest.raises(Away, match=f"^{url} asks for RUNSTREAM_TOKEN$"):
        ask(url, None)
    assert seen == [None]


@pytest.mark.parametrize("server", ["127.0.0.1:5000", "ftp://host", "http://", "", "file:///etc/passwd"])
def test_what_is_no_url_of_a_server_is_said(server: str) -> None:
    with pytest.raises(Away, match="write it as http://HOST:PORT"):
        ask(server, None)


def shown(status: Status) -> str:
    console = Console(width=200, force_terminal=False)
    with console.capture() as capture:
        console.print(drawn("http://host", status))
    return capture.get()


def test_everything_that_went_wrong_is_shown_as_plain_text() -> None:
    stored = Stored(
        log=LogStatus(1_234, 1_767_225_600_000, "ab" * 32),
        projections=[
            ProjectionStatus("runs", 1, "retired", 7, None, None),
            ProjectionStatus("runs", 2, "live", 1_000, 234, 2.25),
        ],
        rejected=MOST_COUNTED,
        last_rejected=[Rejected(1_200, "BAD_REQUEST", "[red]no[/red] \x1b[2J")],
        waiting=2,
        waiting_for=[Waiting("run/early", 2)],
        parked=1,
        first_parked=[Parked("tags", 1, 1_100, "run/a", "too long")],
        dead_letters=1,
        last_dead_letters=[DeadLetter(5, 1_767_225_600_000, "embedded/x", 0, 9, "a lone surrogate", 100)],
    )
    process = Process(uptime_s=93_784, events_per_s=1_500, points_per_s=2e6, requests={"2xx": 5, "4xx": 0, "5xx": 1})
    text = shown(Status(version="1.2.3", process=process, stored=stored))
    for part in (
        "http://host, Runstream 1.2.3, up 1 d 2 h", "1,500 events/s, 2,000,000 points/s", "5 2xx, 1 5xx",
        "position 1,234", "100,000 or more", "[red]no[/red] \N{REPLACEMENT CHARACTER}[2J", "run/early",
        "tags v1", "too long", "embedded/x/0/9", "a lone surrogate",
    ):  # fmt: skip
        assert part in text
    lines = [line.split() for line in text.splitlines()]
    assert ["runs", "1", "retired", "7"] in lines
    assert ["runs", "2", "live", "1,000", "234", "2.2"] in lines


def test_trouble_with_postgresql_is_shown() -> None:
    away = Status(version="1.2.3", process=Process(), trouble="PostgreSQL did not answer within 5 s")
    with answering(200, msgspec.json.encode(away)) as (url, _):
        text = shown(read(url, ask(url, None)))
    assert "PostgreSQL did not answer within 5 s" in text
    assert "rejected" not in text
