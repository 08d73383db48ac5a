"""Connections that break at the worst moment: each is one way in which kills at random moments lost something."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from runstream_projections import reads
from runstream_projections.suffixes import RUN_PROJECTIONS
from runstream_schemas.errors import RequestError, Unavailable
from runstream_schemas.events import RunCreated, RunLogged
from runstream_schemas.ids import run_stream
from runstream_services.adapters import postgres_log, postgres_projections
from runstream_services.adapters.postgres import Database, Line
from runstream_services.embedded import Node
from runstream_services.gateway.sender import ANYONE
from runstream_services.projector.core import Coalescing
from tests.pipeline import pairs

RUN = "0" * 32


@pytest.fixture
async def node(database: Database) -> AsyncIterator[Node]:
    """The services of one process, with one run."""
    services = Node(database, alone=True)
    async with services.running():
        await services.gateway.emit(run_stream(RUN), RunCreated(name="run", start_time=1, experiment_id=0), ANYONE)
        yield services


async def log_param(node: Node, key: str) -> int:
    """Log a param; returns its position."""
    return (await node.gateway.emit(run_stream(RUN), RunLogged(params={key: "x"}), ANYONE)).position


async def params(node: Node) -> list[str]:
    """The keys of the run's params as they are read."""
    [[run]] = await node.gateway.fetch(RUN_PROJECTIONS, reads.run_query, RUN)
    return list(pairs(json.loads(run), "params"))


async def test_an_event_whose_append_was_in_doubt_is_projected_once_and_in_its_place(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL has it and the log writer does not know; the projector has its neighbours from memory, and not it."""
    lost: list[int] = []
    append = postgres_log.append

    async def append_and_lose_the_answer(connection: Any, before: Any, numbered: Any, *arguments: Any) -> None:
        await append(connection, before, numbered, *arguments)
        if numbered.head.position % 3 == 0:
            lost.append(numbered.head.position)
            raise Unavailable("the connection broke after the commit")

    monkeypatch.setattr(postgres_log, "append", append_and_lose_the_answer)
    # Long enough for the events before and after the one in doubt to be folded in one change.
    monkeypatch.setattr(Coalescing, "pause_s", lambda self, last_change_s: 0.5)
    keys = [f"p{number:02}" for number in range(12)]
    assert [await log_param(node, key) for key in keys] == list(range(3, 15))
    assert lost == [3, 6, 9, 12]
    assert await params(node) == keys


async def test_a_call_with_a_key_whose_append_was_in_doubt_is_no_repeat_of_another(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, lost = postgres_log.append, []

    async def append_and_lose_the_first_answer(*arguments: Any) -> None:
        await append(*arguments)
        if not lost:
            lost.append(arguments)
            raise Unavailable("the connection broke after the commit")

    monkeypatch.setattr(postgres_log, "append", append_and_lose_the_first_answer)
    sender, event = ANYONE.with_key(b"k", "/log", b"a body"), RunLogged(params={"p": "x"})
    first = await node.gateway.emit(run_stream(RUN), event, sender)
    assert (len(lost), first.position, first.event) == (1, 3, event)
    assert await node.gateway.emit(run_stream(RUN), RunLogged(params={"p": "x"}), sender) == first
    with pytest.raises(RequestError, match="another body") as refused:
        await node.gateway.emit(run_stream(RUN), event, ANYONE.with_key(b"k", "/log", b"another body"))
    assert refused.value.status == 409
    assert await params(node) == ["p"]


async def test_a_change_that_met_a_closing_connection_is_made_again(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between PostgreSQL's last words and the end of the connection the driver fails in its own way: nobody's fault."""
    move = postgres_projections.move
    failures = [asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress")] * 2

    async def move_on_a_closing_connection(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return await move(*arguments)

    assert await params(node) == []  # what comes next is an event alone, which is parked if it is taken for the cause
    monkeypatch.setattr(postgres_projections, "move", move_on_a_closing_connection)
    await log_param(node, "p")
    assert await params(node) == ["p"]
    assert not failures
    assert node.projector.parked_at(run_stream(RUN)) is None


async def test_a_connection_that_failed_is_not_used_again(database: Database) -> None:
    line = Line(database)
    backends = []
    for error in (asyncpg.InternalClientError("closing"), OSError("reset"), None):
        try:
            async with line.use("testing") as connection:
                backends.append(await connection.fetchval("select pg_backend_pid()"))
                if error is not None:
                    raise error
        except Unavailable as unavailable:
            assert unavailable.__cause__ is error  # noqa: PT017 -- which error it was is the point
    await line.close()
    assert len(set(backends)) == 3


async def test_a_connection_that_fails_right_after_it_was_made_is_a_postgresql_that_is_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def closing(*arguments: Any) -> Any:
        raise asyncpg.InternalClientError("cannot switch to state 11; another operation (2) is in progress")

    monkeypatch.setattr(asyncpg.Connection, "fetchval", closing)
    with pytest.raises(Unavailable):
        await database.connect()
