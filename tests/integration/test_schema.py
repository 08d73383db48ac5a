"""Migrations: numbered, forward only, together exactly the schema that is written down; and who may do what."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest import mock
from uuid import UUID, uuid4

import asyncpg
import pytest

from runstream_projections.catalogue import PROJECTIONS
from runstream_schemas.errors import StartupError
from runstream_schemas.events import RunLogged
from runstream_schemas.ids import run_stream
from runstream_services.adapters import postgres_projections, postgres_schema
from runstream_services.adapters.postgres import Database
from runstream_services.adapters.postgres_schema import PATTERN, migrate, migrations
from runstream_services.databases import prepare
from runstream_services.embedded_postgres import EmbeddedPostgres
from tests.databases import empty_database
from tests.pipeline import connected, pipeline
from tests.schema_file import PATH, dump
from tests.sent import Sent, event_id


@pytest.fixture
async def unmigrated(postgres: EmbeddedPostgres) -> AsyncIterator[Database]:
    async with empty_database(postgres) as database:
        yield database


async def migrated(database: Database) -> bool:
    async with connected(database) as connection:
        return await migrate(connection, log_id=UUID(int=7))


def test_migrations_are_numbered_from_1_without_a_gap_and_named_for_what_they_make() -> None:
    found = migrations()
    assert [number for number, _, _ in found] == list(range(1, len(found) + 1))
    for number, file, sql in found:
        assert PATTERN.fullmatch(file)
        assert file.startswith(f"{number:04}_")
        assert file == file.lower()
        assert sql.strip()
    files = sorted(entry.name for entry in PATH.parent.iterdir() if entry.suffix == ".sql" and entry != PATH)
    assert files == [file for _, file, _ in found], "a file that no release would ever run"


async def test_all_migrations_make_the_schema_that_is_written_down(unmigrated: Database) -> None:
    assert await migrated(unmigrated)
    made, written = dump(unmigrated), PATH.read_text(encoding="utf-8")
    difference = "".join(
        difflib.unified_diff(written.splitlines(True), made.splitlines(True), "schema.sql", "migrations")
    )
    assert not difference, f"\n{difference}\nafter a new migration: python -m tests.schema_file"


async def test_migrating_again_changes_nothing(unmigrated: Database) -> None:
    await migrated(unmigrated)
    before = dump(unmigrated)
    async with connected(unmigrated) as connection:
        head = await connection.fetchrow("select * from log_head")
        assert await migrate(connection, log_id=UUID(int=8))
        assert await connection.fetchrow("select * from log_head") == head, "a log keeps its name"
        rows = await connection.fetch("select number, file from migrations order by 1")
        assert [tuple(row) for row in rows] == [(number, file) for number, file, _ in migrations()]
    assert dump(unmigrated) == before


@pytest.mark.parametrize("first", range(1, len(migrations()) + 1))
async def test_each_older_schema_is_brought_to_the_same(unmigrated: Database, first: int) -> None:
    """What an older release made, as far as that is known: its migrations and no log yet."""
    async with connected(unmigrated) as connection, connection.transaction():
        await connection.execute("create schema runstream")
        await connection.execute("create table migrations (number integer primary key, file text not null)")
        for number, file, sql in migrations()[:first]:
            await connection.execute(sql)
            await connection.execute("insert into migrations values ($1, $2)", number, file)
    await migrated(unmigrated)
    assert dump(unmigrated) == PATH.read_text(encoding="utf-8")


async def test_processes_that_start_at_once_migrate_once(unmigrated: Database) -> None:
    await asyncio.gather(*(prepare(unmigrated) for _ in range(4)))
    async with connected(unmigrated) as connection:
        assert await connection.fetchval("select count(*) from log_head") == 1
        live = await connection.fetch("select name, version from projections order by 1")
        assert [tuple(row) for row in live] == [(name, 1) for name in sorted(["decisions", *PROJECTIONS])]


async def test_a_failing_migration_leaves_nothing_behind(unmigrated: Database) -> None:
    broken = [*migrations(), (len(migrations()) + 1, "9999_broken.sql", "create table half (n int); select 1 / 0")]
    with mock.patch.object(postgres_schema, "migrations", return_value=broken), pytest.raises(asyncpg.DataError):
        await migrated(unmigrated)
    async with connected(unmigrated) as connection:
        assert await connection.fetchval("select to_regnamespace('runstream')") is None


async def test_a_database_of_a_newer_release_is_refused(unmigrated: Database) -> None:
    await migrated(unmigrated)
    async with connected(unmigrated) as connection:
        await connection.execute("insert into migrations values (4711, '4711_newer.sql')")
        with pytest.raises(StartupError, match="has migration 4711, this release knows"):
            await migrate(connection, log_id=UUID(int=7))


async def test_the_services_have_the_rights_they_need_and_no_others(database: Database) -> None:
    async with connected(database) as connection:
        rows = await connection.fetch(
            "select table_name, string_agg(lower(privilege_type), ' ' order by privilege_type) "
            "from information_schema.role_table_grants where grantee = 'runstream_service' group by 1"
        )
    granted = dict(map(tuple, rows))
    folded = {f"{table}_v1" for _, _, tables in postgres_projections.DEFINED for table in tables}
    assert {table for table in granted if table in folded} == folded
    assert {granted.pop(table) for table in folded} == {"delete insert select update"}
    assert granted == {
        "event_log": "insert select",
        "event_ids": "insert select",
        "dead_letters": "insert select",
        "log_head": "select update",
        "log_origins": "insert select update",
        "projections": "select update",
        "parked_events": "delete insert select",
    }


@asynccontextmanager
async def owned_by_a_user(postgres: EmbeddedPostgres) -> AsyncIterator[Database]:
    """A database whose owner may neither make roles nor use the one that another made."""
    name = f"user_{uuid4().hex}"
    connection = await asyncpg.connect(**postgres.connect_arguments)
    await connection.execute(f"create role {name} login nosuperuser nocreaterole")
    await connection.execute(f"create database {name} owner {name}")
    try:
        yield Database({**postgres.connect_arguments, "database": name, "user": name})
    finally:
        await connection.execute(f"drop database {name} with (force)")
        await connection.execute(f"drop role {name}")
        await connection.close()


async def test_without_the_right_to_make_roles_the_triggers_hold_and_it_is_said(
    postgres: EmbeddedPostgres, capsys: pytest.CaptureFixture[str]
) -> None:
    async with owned_by_a_user(postgres) as database:
        async with connected(database) as connection:
            assert not await migrate(connection, log_id=UUID(int=7))
            await postgres_projections.ensure_live(connection)
        assert "only triggers keep the log from being changed" in capsys.readouterr().out
        sent = Sent(event_id(1), run_stream("r"), RunLogged(tags={"k": "v"}))
        async with pipeline(database) as p, p.folding():
            assert [o.position for o in await p.append([sent])] == [1]
            await p.folded()
        async with connected(database, service=True) as connection:
            assert await connection.fetchval("select current_user") == database.arguments["user"]
            for table in ("event_log", "event_log_0", "event_ids"):
                for change in (f"delete from {table}", f"update {table} set position = 0", f"truncate {table}"):
                    with pytest.raises(asyncpg.PostgresError) as refused:
                        await connection.execute(change)
                    assert refused.value.sqlstate == "RS100"
