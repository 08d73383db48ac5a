"""Decides the log again beside the stored decisions: a decision is never changed silently."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import asyncpg

from runstream_projections import decision_tables
from runstream_projections.projection import suffix_of
from runstream_services.adapters import postgres_projections
from runstream_services.adapters.postgres import Database, Line
from runstream_services.adapters.postgres_projections import Standing
from runstream_services.projector.decider import Decider
from runstream_services.projector.rebuild import Progress, decisions_of

#: Changes that are listed; there may be more.
LISTED: Final = 100


class Change(NamedTuple):
    """An event that would be decided otherwise."""

    position: int
    before: str
    after: str


async def redecide(
    database: Database, owner: str, report: Callable[[Progress], None], *, accept: bool
) -> tuple[int, list[Change]]:
    """Decide the whole log again; return the position reached and what would change.

    The new version takes the old one's place only where nothing changes or ``accept`` says so, and the live decider
    has not gone on meanwhile: stop the server for that, or call again.
    """
    line = Line(database, service=False, durable=False)
    decider = Decider(line, owner, by_force=False)
    connection = await database.connect(service=False, durable=False)
    try:
        live, position = await decisions_of(connection)
        version = await postgres_projections.create_version(
            connection, decision_tables.NAME, decision_tables.REVISION, decision_tables.TABLES, "checking"
        )
        await connection.execute(
            "update projections set owner = $3, epoch = 1 where name = $1 and version = $2",
            decision_tables.NAME,
            version,
            owner,
        )
        await decider.adopt(connection, Standing(decision_tables.NAME, version, 1, 0))
        await decider.catch_up(connection, position)
        report(Progress(decision_tables.NAME, version, position, position))
        changes = await changed(connection, live, version, position)
        if (changes and not accept) or not await _switch(connection, live, version, position):
            await postgres_projections.drop_version(connection, decision_tables.NAME, version)
        return position, changes
    finally:
        await connection.close()
        await line.close()


async def changed(connection: asyncpg.Connection, live: int, version: int, position: int) -> list[Change]:
    """What two versions decide differently, the first :data:`LISTED`."""
    sql = decision_tables.changed_query(suffix_of(live), suffix_of(version))
    rows = await connection.fetch(sql, position, LISTED)
    return [Change(r["position"], r["before"] or "accepted", r["after"] or "accepted") for r in rows]


async def _switch(connection: asyncpg.Connection, live: int, version: int, position: int) -> bool:
    async with connection.transaction():
        retired = await connection.execute(
            "update projections set state = 'retired', owner = null, lease_until = null, epoch = epoch + 1 "
            "where name = $1 and version = $2 and position = $3 and state = 'live'",
            decision_tables.NAME,
            live,
            position,
        )
        if retired == "UPDATE 1":
            await connection.execute(
                "update projections set state = 'live', owner = null, epoch = epoch + 1 "
                "where name = $1 and version = $2",
                decision_tables.NAME,
                version,
            )
        return bool(retired == "UPDATE 1")
