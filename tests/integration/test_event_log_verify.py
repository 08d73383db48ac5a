"""`verify` names the position of what a superuser changed, whatever it was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
import zstandard

from runstream_schemas.errors import LogCorrupt
from runstream_schemas.events import ExperimentEnsured, RunCreated, RunLogged
from runstream_schemas.ids import EXPERIMENTS, run_stream
from runstream_services.adapters.postgres import Database
from runstream_services.embedded_postgres import EmbeddedPostgres
from runstream_services.projector.verify import verify_log
from tests.databases import partitioned_database
from tests.pipeline import connected, write
from tests.sent import Sent, event_id

EVENTS = 12
#: The position that is tampered with; others are its neighbours.
AT = 7


@pytest.fixture(scope="module")
async def log(postgres: EmbeddedPostgres) -> AsyncIterator[Database]:
    """A log of two origins that nobody touched."""
    ensured = Sent(event_id(1), EXPERIMENTS, ExperimentEnsured(name="a", created_at=1))
    events = [ensured, Sent(event_id(2), run_stream("r"), RunCreated(name="n", start_time=1, ensured_by=event_id(1)))]
    for at in range(3, EVENTS + 1):
        tags = {f"key {number}": f"value {at} {number}" * 3 for number in range(at % 5)}
        events.append(Sent(event_id(at), run_stream("r"), RunLogged(tags=tags), at, "ada", "host/1", at))
    async with partitioned_database(postgres, 1 << 22) as database:
        await write(database, events[:5])
        await write(database, events[5:])
        yield database


@asynccontextmanager
async def superuser(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A connection that no trigger stops; what it changes is taken back at the end."""
    async with connected(database) as connection:
        await connection.execute("set session_replication_role = replica")
        tampering = connection.transaction()
        await tampering.start()
        yield connection
        await tampering.rollback()


async def corrupt_at(connection: asyncpg.Connection) -> int | None:
    """The position that verifying names; None where the log is whole."""
    try:
        await verify_log(connection, lambda at, head: None)
    except LogCorrupt as error:
        return error.position if str(error.position) in str(error) else -1
    return None


async def test_a_log_that_nobody_touched_is_whole(log: Database) -> None:
    async with superuser(log) as connection:
        seen: list[tuple[int, int]] = []
        assert await verify_log(connection, lambda at, head: seen.append((at, head))) == EVENTS
        assert seen[-1] == (EVENTS, EVENTS)


async def test_an_empty_log_is_whole(database: Database) -> None:
    async with connected(database) as connection:
        assert await verify_log(connection, lambda at, head: None) == 0


@pytest.mark.parametrize(
    "change",
    [
        "recorded_at = recorded_at + 1",
        "sent_at = sent_at - 1",
        "origin_offset = origin_offset + 1",
        "origin_offset = -1",
        "origin_id = (select min(id) from log_origins)",
        "origin_id = 4711",
        "sequence = sequence + 1",
        "sequence = null",
        "version = 2",
        "version = -1",
        "event_id = gen_random_uuid()",
        "stream = 'run/s'",
        "stream = ''",
        "type = 'RunDeleted'",
        "actor = 'bob'",
        "actor = null",
        "writer = ''",
        "writer = actor, actor = writer",
        "payload_sha256 = sha256('x')",
        "payload_sha256 = ''",
        "chain = sha256('x')",
        "chain = ''",
    ],
)
async def test_a_changed_column_is_named(log: Database, change: str) -> None:
    async with superuser(log) as connection:
        await connection.execute(f"update event_log set {change} where position = $1", AT)
        assert await corrupt_at(connection) == AT


async def test_every_changed_byte_of_a_payload_is_named(log: Database) -> None:
    """Each bit of it, one after the other; what says the same in other bytes is no change of the event."""
    async with superuser(log) as connection:
        payload = await connection.fetchval("select payload from event_log where position = $1", AT)
        plain = zstandard.ZstdDecompressor().decompress(payload)
        unnamed = []
        for at in range(8 * len(payload)):
            changed = bytearray(payload)
            changed[at // 8] ^= 1 << at % 8
            await connection.execute("update event_log set payload = $2 where position = $1", AT, bytes(changed))
            if await corrupt_at(connection) != AT:
                unnamed.append(bytes(changed))
        assert all(zstandard.ZstdDecompressor().decompress(changed, 1_000) == plain for changed in unnamed)
        assert len(unnamed) < 8, "zstd has few bits without a meaning"


async def test_another_payload_of_the_same_form_is_named(log: Database) -> None:
    async with superuser(log) as connection:
        other = zstandard.ZstdCompressor().compress(b'{"tags":{"key 0":"other"}}')
        original = await connection.fetchval("select payload from event_log where position = $1", AT)
        for payload in (other, b"", b"not zstd", original + b"more", original[:-1]):
            await connection.execute("update event_log set payload = $2 where position = $1", AT, payload)
            assert await corrupt_at(connection) == AT, payload


async def test_an_erased_payload_leaves_the_chain_whole(log: Database) -> None:
    """Erasing is the one change that is allowed: the chain covers a payload by its hash."""
    async with superuser(log) as connection:
        await connection.execute("update event_log set payload = null where position = $1", AT)
        assert await corrupt_at(connection) is None


async def test_a_deleted_event_is_named(log: Database) -> None:
    async with superuser(log) as connection:
        await connection.execute("delete from event_log where position = $1", AT)
        assert await corrupt_at(connection) == AT


@pytest.mark.parametrize("last", [EVENTS, EVENTS - 3])
async def test_a_log_that_was_cut_off_is_named(log: Database, last: int) -> None:
    async with superuser(log) as connection:
        await connection.execute("delete from event_log where position >= $1", last)
        assert await corrupt_at(connection) == last


async def test_swapped_events_are_named(log: Database) -> None:
    async with superuser(log) as connection:
        for old, new in ((AT, 4_000), (AT + 1, AT), (4_000, AT + 1)):
            await connection.execute("update event_log set position = $2 where position = $1", old, new)
        assert await connection.fetchval("select count(*) from event_log") == EVENTS
        assert await corrupt_at(connection) == AT


async def test_swapped_payloads_with_their_hashes_are_named(log: Database) -> None:
    async with superuser(log) as connection:
        await connection.execute(
            "update event_log l set payload = o.payload, payload_sha256 = o.payload_sha256 from event_log o "
            "where l.position in ($1::bigint, $1 + 1) and o.position = 2 * $1 + 1 - l.position",
            AT,
        )
        assert await corrupt_at(connection) == AT


async def test_an_event_that_nobody_appended_is_named(log: Database) -> None:
    async with superuser(log) as connection:
        columns = (
            "recorded_at, sent_at, origin_offset, sequence, origin_id, version, event_id, stream, type, actor, "
            "writer, payload_sha256, chain, payload"
        )
        await connection.execute(
            f"insert into event_log (position, {columns}) select position + 1, {columns} from event_log "
            "where position = $1",
            EVENTS,
        )
        assert await corrupt_at(connection) == EVENTS + 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("position = position + 1", EVENTS + 1),
        ("position = position - 1", EVENTS - 1),
        ("position = 0, chain = decode(repeat('00', 32), 'hex')", 1),
        ("chain = sha256('x')", EVENTS),
        (f"position = {AT}, chain = (select chain from event_log where position = {AT})", AT + 1),
    ],
)
async def test_a_changed_head_is_named(log: Database, change: str, named: int) -> None:
    async with superuser(log) as connection:
        await connection.execute(f"update log_head set {change}")
        assert await corrupt_at(connection) == named


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (f"delete from event_ids where position = {AT}", AT),
        (f"update event_ids set position = {AT} where position = {AT + 1}", AT + 1),
        (f"update event_ids set event_id = gen_random_uuid() where position = {AT}", AT),
        (f"insert into event_ids values (gen_random_uuid(), {AT})", AT),
        ("insert into event_ids values (gen_random_uuid(), 4711)", 4711),
    ],
)
async def test_changed_ids_are_named(log: Database, change: str, named: int) -> None:
    """An id too many would make the event that comes with it a duplicate; one too few lets one in twice."""
    async with superuser(log) as connection:
        await connection.execute(change)
        assert await corrupt_at(connection) == named


async def test_a_changed_origin_is_named_at_its_first_event(log: Database) -> None:
    async with superuser(log) as connection:
        await connection.execute("update log_origins set topic = 'other' where id = (select max(id) from log_origins)")
        assert await corrupt_at(connection) == 6
