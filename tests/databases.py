"""Databases for tests that need many of them, or other ones than the usual."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import pytest

from runstream_services.adapters import postgres_projections
from runstream_services.adapters.postgres import Database
from runstream_services.adapters.postgres_schema import migrate
from runstream_services.embedded_postgres import EmbeddedPostgres

#: A database that no test uses now, by server.
_free: dict[str, Database] = {}


@pytest.fixture
async def reused_database(postgres: EmbeddedPostgres) -> AsyncIterator[Database]:
    """A migrated, empty database: that of the test before, emptied, which takes a tenth of the time of a new one.

    A module says ``database = reused_database`` to have it in place of a new one for each test.
    """
    database = _free.pop(postgres.dsn, None)
    if database is None or not await emptied(database):
        database = await new_database(postgres)
    yield database
    _free[postgres.dsn] = database


async def new_database(postgres: EmbeddedPostgres) -> Database:
    """A migrated, empty database that lives as long as its server."""
    name = f"reused_{uuid4().hex}"
    connection = await asyncpg.connect(**postgres.connect_arguments)
    await connection.execute(f"create database {name} template template_runstream")
    await connection.close()
    return Database({**postgres.connect_arguments, "database": name})


async def emptied(database: Database) -> bool:
    """Empty a migrated database, as only a superuser can; False where a test left it in another form."""
    connection = await database.connect(service=False)
    try:
        async with connection.transaction():
            await connection.execute("set local session_replication_role = replica")
            await connection.execute("set local lock_timeout = '5s'")
            return await _empty(connection)
    except asyncpg.PostgresError:
        return False
    finally:
        await connection.close()


async def _empty(connection: asyncpg.Connection) -> bool:
    for name, version in await connection.fetch("select name, version from projections where version > 1"):
        tables = next(tables for known, _, tables in postgres_projections.DEFINED if known == name)
        await connection.execute("drop table " + ", ".join(f"{table}_v{version}" for table in tables))
    await connection.execute("delete from projections where version > 1")
    tables = await connection.fetch(
        "select relname from pg_class where relnamespace = 'runstream'::regnamespace and relkind = 'r' "
        "and relname not in ('migrations', 'log_head', 'projections')"
    )
    for table in tables:
        await connection.execute(f"delete from {table[0]}")
    await connection.execute("update log_head set position = 0, chain = $1, recorded_at = 0", bytes(32))
    await connection.execute(
        "update projections set state = 'live', position = 0, owner = null, epoch = 0, lease_until = null"
    )
    left = await connection.fetch("select name, revision from projections")
    return sorted(map(tuple, left)) == sorted((name, revision) for name, revision, _ in postgres_projections.DEFINED)


@asynccontextmanager
async def empty_database(postgres: EmbeddedPostgres) -> AsyncIterator[Database]:
    """A database that nobody migrated."""
    name = f"test_{uuid4().hex}"
    connection = await asyncpg.connect(**postgres.connect_arguments)
    await connection.execute(f"create database {name}")
    try:
        yield Database({**postgres.connect_arguments, "database": name})
    finally:
        await connection.execute(f"drop database {name} with (force)")
        await connection.close()


@asynccontextmanager
async def partitioned_database(postgres: EmbeddedPostgres, partition_events: int) -> AsyncIterator[Database]:
    """A migrated database whose log goes on in a new partition after so many events."""
    async with empty_database(postgres) as database:
        connection = await database.connect(service=False)
        await migrate(connection, log_id=uuid4(), partition_events=partition_events)
        await postgres_projections.ensure_live(connection)
        await connection.close()
        yield database
