"""Decides the log again beside the stored decisions: a decision is never changed silently."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import asyncpg

from runstream_projections import decision_tables
from runstream_projections.projection import suffix_of
from runstream_schemas.errors import CheckpointMoved
from runstream_services.adapters import postgres_projections
from runstream_services.adapters.postgres import Database, Line
from runstream_services.adapters.postgres_projections import Standing
from runstream_services.projector.decider import Decider
from runstream_services.projector.lease import lease_kept
from runstream_services.projector.rebuild import SWITCH_EVENTS, Progress, decisions_of

#: Changes that are listed; there may be more.
LISTED: Final = 100


class Change(NamedTuple):
    """An event that would be decided otherwise."""

    position: int
    before: str
    after: str


class Redecided(NamedTuple):
    """What came of deciding the log again up to ``position``; ``switched``: the new decisions are live.

    ``changes`` are the first :data:`LISTED` of the ``different`` decisions.
    """

    position: int
    different: int
    changes: list[Change]
    switched: bool


async def redecide(database: Database, owner: str, report: Callable[[Progress], None], *, accept: bool) -> Redecided:
    """Decide the whole log again; the server may go on meanwhile.

    The new version takes the old one's place only where nothing changes or ``accept`` says so. Where something
    changes, rebuilds that were begun are given up: a table would hold half of the one and half of the other.
    """
    again = _Again(database, owner, accept=accept)
    connection = await database.connect(service=False, durable=False)
    try:
        async with lease_kept(database, owner):
            await again.begin(connection)
            while True:
                position = await again.catch_up(connection)
                report(Progress(decision_tables.NAME, again.version, position, position))
                switched = again.is_acceptable and await again.switch(connection)
                if switched or not again.is_acceptable:
                    break
            if not switched:
                await postgres_projections.drop_version(connection, decision_tables.NAME, again.version, owner)
            return Redecided(again.position, again.different, again.listed, switched)
    finally:
        await connection.close()
        await again.close()


async def decided_to(
    database: Database,
    connection: asyncpg.Connection,
    owner: str,
    position: int,
    report: Callable[[Progress], None],
) -> Standing:
    """Decide the log up to ``position`` into a version of its own, for a comparison; nobody reads it."""
    line = Line(database, service=False, durable=False)
    decider = Decider(line, owner, by_force=False)
    standing = await _decide_beside(connection, decider, owner)
    await decider.catch_up(connection, position)
    report(Progress(standing.name, standing.version, position, position))
    await line.close()
    return standing


async def _decide_beside(connection: asyncpg.Connection, decider: Decider, owner: str) -> Standing:
    standing = await postgres_projections.create_version(
        connection, decision_tables.NAME, decision_tables.REVISION, decision_tables.TABLES, "checking", owner
    )
    await decider.adopt(connection, standing)
    return standing


class _Again:
    """A version being decided beside the live one, and what is known to differ."""

    def __init__(self, database: Database, owner: str, *, accept: bool) -> None:
        self._line = Line(database, service=False, durable=False)
        self._decider = Decider(self._line, owner, by_force=False)
        self._owner = owner
        self._accept = accept
        self._live = 0
        self._changes: dict[int, Change] = {}
        self._unlisted = 0
        self.version = 0
        self.position = 0

    @property
    def listed(self) -> list[Change]:
        return [self._changes[position] for position in sorted(self._changes)][:LISTED]

    @property
    def different(self) -> int:
        return len(self._changes) + self._unlisted

    @property
    def is_acceptable(self) -> bool:
        return self._accept or not self._changes

    async def begin(self, connection: asyncpg.Connection) -> None:
        self._live, _ = await decisions_of(connection)
        self.version = (await _decide_beside(connection, self._decider, self._owner)).version

    async def catch_up(self, connection: asyncpg.Connection) -> int:
        """Decide up to where the live decisions are, compare them, and return that position."""
        live, position = await decisions_of(connection)
        if live != self._live:
            raise CheckpointMoved("another process switched the decisions meanwhile: run the command again")
        await self._decider.catch_up(connection, position)
        sql = decision_tables.changed_query(suffix_of(self._live), suffix_of(self.version))
        rows = await connection.fetch(sql, self.position, position, LISTED)
        self._unlisted += rows[0]["count"] - len(rows) if rows else 0
        for row in rows:
            change = Change(row["position"], row["before"] or "accepted", row["after"] or "accepted")
            self._changes.setdefault(change.position, change)
        self.position = position
        return position

    async def switch(self, connection: asyncpg.Connection) -> bool:
        """Make the new version live; False where the log went on too far, or what it went on with is not accepted."""
        async with connection.transaction():
            await connection.execute("set local synchronous_commit = on")  # and with it all that was filled before
            # Appends wait here, then fail, and go on with the new version.
            reached = await connection.fetchval(
                "select position from projections where name = $1 and state = 'live' for update", decision_tables.NAME
            )
            if reached - self.position > SWITCH_EVENTS:
                return False
            await self.catch_up(connection)
            if not self.is_acceptable:
                return False
            await postgres_projections.switch(connection, self._owner, self._decider.held)
            if self._changes:
                await connection.execute(
                    "update projections set state = 'retired', owner = null, lease_until = null, epoch = epoch + 1 "
                    "where name <> $1 and state in ('building', 'checking')",
                    decision_tables.NAME,
                )
        return True

    async def close(self) -> None:
        await self._line.close()
