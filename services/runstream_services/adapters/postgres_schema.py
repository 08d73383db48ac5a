"""Migrations: numbered, forward only, each in a transaction of its own, as the owner of the database."""

from __future__ import annotations

import re
from importlib import resources
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from runstream_schemas.errors import StartupError
from runstream_services.adapters.postgres import MAY_BE_SERVICE, SCHEMA, SERVICE_ROLE

log = structlog.get_logger()

PACKAGE: Final = "runstream_services.migrations"
PATTERN: Final = re.compile(r"(\d{4})_\w+\.sql")

#: Positions per partition of the log; a table that grows past it continues in the next.
PARTITION_EVENTS: Final = 1 << 22

#: Serialises migrating processes; any constant of our own will do.
_MIGRATION_LOCK: Final = 0x52756E73

_GRANTS: Final = f"""
grant usage on schema {SCHEMA} to {SERVICE_ROLE};
grant select, insert on event_log, event_ids, dead_letters to {SERVICE_ROLE};
grant select, update on log_head to {SERVICE_ROLE};
grant select, insert, update on log_origins to {SERVICE_ROLE};
grant select, update on projections to {SERVICE_ROLE};
grant select, insert, delete on parked_events to {SERVICE_ROLE};
grant execute on function extend_event_log(bigint) to {SERVICE_ROLE};
revoke execute on function extend_event_log(bigint) from public;
"""


def migrations() -> list[tuple[int, str, str]]:
    """Return (number, file name, SQL) of every migration, in order."""
    found = []
    for entry in resources.files(PACKAGE).iterdir():
        match = PATTERN.fullmatch(entry.name)
        if match:
            found.append((int(match[1]), entry.name, entry.read_text(encoding="utf-8")))
    return sorted(found)


async def migrate(connection: asyncpg.Connection, *, log_id: UUID, partition_events: int = PARTITION_EVENTS) -> bool:
    """Bring the database to this release's schema; return whether the service role is in use.

    ``log_id`` names the log when this call makes it. Raises :class:`StartupError` where PostgreSQL is older than 15 or
    the database was migrated by a newer release.
    """
    if connection.get_server_version().major < 15:
        raise StartupError(f"PostgreSQL 15 or later is needed, this is {connection.get_server_version().major}")
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock($1)", _MIGRATION_LOCK)
        await connection.execute(f"create schema if not exists {SCHEMA}")
        await connection.execute(
            "create table if not exists migrations (number integer primary key, file text not null)"
        )
        done = {row["number"] for row in await connection.fetch("select number from migrations")}
        known = migrations()
        if done and max(done) > known[-1][0]:
            raise StartupError(
                f"the database has migration {max(done)}, this release knows {known[-1][0]}: run the newer release"
            )
        for number, file, sql in known:
            if number not in done:
                await connection.execute(sql)
                await connection.execute("insert into migrations values ($1, $2)", number, file)
        if not await connection.fetchval("select exists (select from log_head)"):
            await connection.execute(
                "insert into log_head (log_id, position, chain, recorded_at, partition_events, partitioned_to) "
                "values ($1, 0, $2, 0, $3, 0)",
                log_id,
                bytes(32),
                partition_events,
            )
            await connection.execute("select extend_event_log(1)")
    return await _grant(connection)


async def _grant(connection: asyncpg.Connection) -> bool:
    """Make the service role and give it what it needs; without the right to make roles the triggers alone hold."""
    try:
        async with connection.transaction():
            await connection.execute("select pg_advisory_xact_lock($1)", _MIGRATION_LOCK)
            if not await connection.fetchval("select to_regrole($1) is not null", SERVICE_ROLE):
                await connection.execute(f"create role {SERVICE_ROLE} nologin")
            if not await connection.fetchval(MAY_BE_SERVICE, SERVICE_ROLE):
                option = " with set true" if connection.get_server_version().major >= 16 else ""
                await connection.execute(f"grant {SERVICE_ROLE} to current_user{option}")
            await connection.execute(_GRANTS)
    except asyncpg.InsufficientPrivilegeError as error:
        log.warning(
            "the service role is not in use: only triggers keep the log from being changed",
            reason=str(error),
            remedy=f"create role {SERVICE_ROLE} and grant it to the role of the database URL",
        )
        return False
    return True
