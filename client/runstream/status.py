"""``runstream status``: asks a server how it is doing, and shows it in the terminal."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from runstream_schemas.status import MOST_COUNTED, Status, Stored

#: Seconds between two looks of ``--watch``.
WATCH_S: Final = 2.0
_TIMEOUT_S: Final = 20.0
_MOST_BYTES: Final = 16 << 20
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")


class Away(Exception):
    """The server does not say how it is doing; the message says why, in one sentence."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A token is for the server that was named."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


def ask(server: str, token: str | None) -> bytes:
    """The answer of ``GET /status`` at a URL. Raises :class:`Away`."""
    place = urlsplit(server)
    if place.scheme not in ("http", "https") or not place.hostname:
        raise Away(f"{server} is not the URL of a server: write it as http://HOST:PORT")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"{server.rstrip('/')}/api/runstream/v1/status", headers=headers)
    # A proxy's localhost is not this one.
    proxies = [urllib.request.ProxyHandler({})] if place.hostname in _LOCAL else []
    try:
        with urllib.request.build_opener(_NoRedirects, *proxies).open(request, timeout=_TIMEOUT_S) as response:
            body: bytes = response.read(_MOST_BYTES)
            return body
    except urllib.error.HTTPError as error:
        with error:
            raise Away(_refusal(server, error.code, error.read(_MOST_BYTES), token)) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise Away(f"no server answers at {server}: {getattr(reason, 'strerror', None) or reason}") from error


def _refusal(server: str, status: int, body: bytes, token: str | None) -> str:
    if status == 401:
        return f"{server} " + ("does not know the token in RUNSTREAM_TOKEN" if token else "asks for RUNSTREAM_TOKEN")
    try:
        said = msgspec.json.decode(body)["message"]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        said = "is it a Runstream server?"
    return f"{server} answered {status}: {plain(str(said))}"


def read(server: str, body: bytes) -> Status:
    """A status as it was sent. Raises :class:`Away` where it is none."""
    try:
        return msgspec.json.decode(body, type=Status)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Away(f"{server} answered what is not the status of a Runstream server: {error}") from error


def show(server: str, token: str | None, *, watch: bool, as_json: bool) -> None:
    """Print the status, again and again with ``watch``, until Ctrl-C.

    Raises :class:`Away`; a watch that shows tables says so in their place, and goes on.
    """
    console = Console()
    body = ask(server, token)
    status = read(server, body)
    if as_json:
        typer.echo(body)
        while watch:
            time.sleep(WATCH_S)
            body = ask(server, token)
            read(server, body)
            typer.echo(body)
    elif not watch:
        console.print(drawn(server, status))
    else:
        with Live(drawn(server, status), console=console, auto_refresh=False) as live:
            while True:
                time.sleep(WATCH_S)
                live.update(_drawn_again(server, token), refresh=True)


def _drawn_again(server: str, token: str | None) -> RenderableType:
    try:
        return drawn(server, read(server, ask(server, token)))
    except Away as away:
        return Text(str(away))


def drawn(server: str, status: Status) -> RenderableType:
    """A status for people."""
    process = status.process
    numbers = _table("", "")
    rows = [
        ("server", f"{server}, Runstream {status.version}, up {_duration(process.uptime_s)}"),
        ("PostgreSQL", "answers" if status.trouble is None else status.trouble),
        ("rates", f"{process.events_per_s:,.0f} events/s, {process.points_per_s:,.0f} points/s"),
        ("requests", ", ".join(f"{count:,} {code}" for code, count in process.requests.items() if count) or "none"),
        ("connections", f"{process.connections:,}"),
        ("queued", f"{process.queued_events:,} events, {process.queued_bytes:,} bytes"),
    ]
    stored = status.stored
    if stored is not None:
        log = stored.log
        at = f", of {_moment(log.recorded_at)}" if log.position else ""
        rows.append(("log", f"position {log.position:,}{at}, chain {log.chain[:16]}"))
        for name, count in (
            ("rejected", stored.rejected),
            ("waiting", stored.waiting),
            ("parked", stored.parked),
            ("dead letters", stored.dead_letters),
        ):
            rows.append((name, f"{count:,}{' or more' if count == MOST_COUNTED else ''}"))
    for row in rows:
        _add(numbers, *row)
    return Group(numbers, *(() if stored is None else _lists(stored)))


def _lists(stored: Stored) -> list[Table]:
    projections = _table("projection", "version", "state", "position", "behind", "seconds")
    for p in stored.projections:
        behind = ("", "") if p.lag_events is None or p.lag_s is None else (f"{p.lag_events:,}", f"{p.lag_s:.1f}")
        _add(projections, p.name, str(p.version), p.state, f"{p.position:,}", *behind)
    rejected = _table("rejected", "code", "message")
    for r in stored.last_rejected:
        _add(rejected, f"{r.position:,}", r.error_code, r.message)
    waiting = _table("waiting for", "events")
    for w in stored.waiting_for:
        _add(waiting, w.waits_for, f"{w.events:,}")
    parked = _table("parked in", "position", "stream", "reason")
    for e in stored.first_parked:
        _add(parked, f"{e.projection} v{e.version}", f"{e.position:,}", e.stream, e.reason)
    dead = _table("dead letter", "at", "from", "reason")
    for d in stored.last_dead_letters:
        _add(dead, str(d.id), _moment(d.recorded_at), f"{d.topic}/{d.partition}/{d.offset}", d.reason)
    return [table for table in (projections, rejected, waiting, parked, dead) if table.row_count]


def _table(*headers: str) -> Table:
    table = Table(box=None, pad_edge=False, show_header=any(headers), title_justify="left")
    for header in headers:
        table.add_column(header, overflow="fold")
    return table


def _add(table: Table, *cells: str) -> None:
    """A row; what clients sent is neither markup nor a command to the terminal."""
    table.add_row(*(Text(plain(cell)) for cell in cells))


def plain(text: str) -> str:
    """``text`` without what a terminal would take for a command."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1_000).astimezone().isoformat(" ", "seconds")


def _duration(seconds: float) -> str:
    minutes, s = divmod(int(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    return f"{days} d {h} h" if days else f"{h} h {m} min" if h else f"{m} min {s} s" if m else f"{s} s"
