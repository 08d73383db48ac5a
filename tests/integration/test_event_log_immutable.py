"""The database refuses to change the log: to the services by privilege, to its owner by a trigger on each partition."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count

import asyncpg
import pytest

from runstream_schemas.events import RunLogged
from runstream_schemas.ids import run_stream
from runstream_services.adapters.postgres import Database
from runstream_services.embedded_postgres import EmbeddedPostgres
from tests.databases import partitioned_database
from tests.pipeline import connected, pipeline
from tests.sent import Sent, event_id

PARTITION_EVENTS = 4
#: Three partitions with events, and the one that is next.
EVENTS = 11

#: What would change a table; the last two change no row and are refused all the same.
CHANGES = {
    "update": "update {table} set position = position",
    "update of a payload": "update {table} set {column} = null",
    "delete": "delete from {table}",
    "delete one": "delete from {table} where position = 2",
    "truncate": "truncate {table}",
    "truncate cascade": "truncate {table} restart identity cascade",
    "merge": "merge into {table} t using (select 1 as n) s on true when matched then delete",
    "delete within a query": "with gone as (delete from {table} returning 1) select count(*) from gone",
    "update of nothing": "update {table} set position = 0 where false",
    "delete of nothing": "delete from {table} where false",
}


@pytest.fixture(scope="module")
async def log(postgres: EmbeddedPostgres) -> AsyncIterator[Database]:
    """A log that has several partitions."""
    async with partitioned_database(postgres, PARTITION_EVENTS) as database:
        numbers = count()
        async with pipeline(database) as p:
            for _ in range(EVENTS):
                at = next(numbers)
                await p.append([Sent(event_id(at), run_stream("r"), RunLogged(tags={"n": str(at)}))])
        yield database


async def guarded(connection: asyncpg.Connection) -> list[str]:
    """The log, each of its partitions, and the ids of its events."""
    rows = await connection.fetch(
        "select inhrelid::regclass::text from pg_inherits where inhparent = 'event_log'::regclass"
    )
    return ["event_log", *sorted(row[0] for row in rows), "event_ids"]


async def contents(connection: asyncpg.Connection) -> list[tuple[object, ...]]:
    rows = await connection.fetch("select l, i from event_log l full join event_ids i using (position) order by 1")
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("service", [True, False], ids=["the services' role", "the owner"])
async def test_no_table_of_the_log_can_be_changed(log: Database, change: str, service: bool) -> None:
    async with connected(log) as owner, connected(log, service=service) as connection:
        assert await connection.fetchval("select current_user") == ("runstream_service" if service else "postgres")
        before = await contents(owner)
        tables = await guarded(owner)
        assert len(tables) == 2 + EVENTS // PARTITION_EVENTS + 1
        for table in tables:
            column = "event_id" if table == "event_ids" else "payload"
            with pytest.raises(asyncpg.PostgresError) as refused:
                await connection.execute(CHANGES[change].format(table=table, column=column))
            # Privilege is looked at first; the owner has it, and meets the trigger.
            assert refused.value.sqlstate == ("42501" if service else "RS100"), (table, refused.value)
        assert await contents(owner) == before


async def test_writing_over_a_row_is_refused(log: Database) -> None:
    async with connected(log) as owner:
        before = await contents(owner)
        for table in await guarded(owner):
            key = "event_id" if table == "event_ids" else "position"
            with pytest.raises(asyncpg.PostgresError) as refused:
                await owner.execute(
                    f"insert into {table} select * from {table} on conflict ({key}) do update set position = 0"
                )
            assert refused.value.sqlstate == "RS100", table
        assert await contents(owner) == before


async def test_the_triggers_cannot_be_switched_off_by_the_services(log: Database) -> None:
    async with connected(log, service=True) as service:
        for statement in (
            "alter table event_log disable trigger append_only",
            "set session_replication_role = replica",
            "drop table event_ids",
            "alter table event_log detach partition event_log_0",
            "drop trigger append_only on event_log_0",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await service.execute(statement)


async def test_the_services_may_do_what_they_must_and_no_more(log: Database) -> None:
    async with connected(log, service=True) as service:
        assert await service.fetchval("select count(*) from event_log") == EVENTS
        assert await service.fetchval("select count(*) from event_ids") == EVENTS
        for statement in (
            "update dead_letters set reason = ''",
            "delete from dead_letters",
            "truncate dead_letters",
            "delete from log_head",
            "insert into log_head select * from log_head",
            "delete from log_origins",
            "delete from projections",
            "insert into projections select * from projections",
            "update migrations set file = ''",
            "create table runstream.mine (n int)",
            "insert into event_log_0 select * from event_log_0",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await service.execute(statement)


async def test_others_cannot_even_read(log: Database) -> None:
    async with connected(log) as owner:
        await owner.execute("create role stranger")
        try:
            await owner.execute("set role stranger")
            for statement in ("select 1 from runstream.event_log", "select runstream.extend_event_log(1)"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await owner.execute(statement)
        finally:
            await owner.execute("reset role")
            await owner.execute("drop role stranger")
