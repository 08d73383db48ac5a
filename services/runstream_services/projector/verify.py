"""Checks that the log is what was appended, and that the projections are what the log says."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

import asyncpg
import msgspec

from runstream_projections import decision_tables
from runstream_projections.catalogue import PROJECTIONS
from runstream_projections.projection import Row, suffix_of
from runstream_schemas.chain import GENESIS, link
from runstream_schemas.errors import LogCorrupt
from runstream_schemas.positions import Origin
from runstream_services.adapters import postgres_log, postgres_projections
from runstream_services.adapters.postgres import Database
from runstream_services.projector.lease import lease_kept
from runstream_services.projector.rebuild import Progress, Rebuild
from runstream_services.projector.redecide import decided_to

_PAGE: Final = 2_000
#: Rows of a projection that are read at once; one of metric points has tens of kilobytes.
_PREFETCH: Final = 100
_encode = msgspec.msgpack.Encoder().encode


class Verified(NamedTuple):
    """A projection's content as it is read and as the log gives it, both at ``position``; the log ends at ``head``."""

    name: str
    position: int
    head: int
    live: str
    rebuilt: str


async def verify_log(connection: asyncpg.Connection, report: Callable[[int, int], None]) -> int:
    """Walk the chain from the first event to the head and return how many events there are.

    Raises :class:`LogCorrupt`, naming the first position where a payload does not match its hash, an event does not
    match its chain hash, or a position is missing.
    """
    head = await postgres_log.read_head(connection)
    origins = {
        row["id"]: Origin(row["topic"], row["partition"])
        for row in await connection.fetch("select id, topic, partition from log_origins")
    }
    position, chain = 0, GENESIS
    while position < head.position:
        rows = await connection.fetch(
            "select l.*, i.position as id_position from event_log l left join event_ids i using (event_id) "
            "where l.position > $1 and l.position <= $2 order by l.position",
            position,
            min(position + _PAGE, head.position),
        )
        if not rows:
            message = f"position {position + 1} is missing: the log ends before it, its head says {head.position}"
            raise LogCorrupt(message, position + 1)
        for row in rows:
            _check(row, position + 1, chain, origins.get(row["origin_id"]))
            position, chain = row["position"], row["chain"]
        report(position, head.position)
    if chain != head.chain:
        raise LogCorrupt(f"the head's chain hash is not that of position {position}", position)
    await _check_nothing_else(connection)
    return position


async def _check_nothing_else(connection: asyncpg.Connection) -> None:
    """Raise :class:`LogCorrupt` for an event after the head, and for an id of an event that is not in the log."""
    beyond = await connection.fetchval(
        "select min(l.position) from event_log l, log_head h where l.position > h.position"
    )
    if beyond is not None:
        raise LogCorrupt(f"the event at position {beyond} lies after the head: nobody appended it", beyond)
    if await connection.fetchval("select (select count(*) from event_ids) <> position from log_head"):
        stray = await connection.fetchrow(
            "select i.event_id, i.position from event_ids i left join event_log l using (position, event_id) "
            "where l.type is null order by i.position limit 1"
        )
        if stray is not None:
            message = f"event_ids has event {stray['event_id']} at position {stray['position']}, the log does not"
            raise LogCorrupt(message, stray["position"])


def _check(row: asyncpg.Record, expected: int, chain: bytes, origin: Origin | None) -> None:
    position = row["position"]
    if position != expected:
        raise LogCorrupt(f"position {expected} is missing from the log", expected)
    if row["id_position"] != position:
        raise LogCorrupt(f"event {row['event_id']} at position {position} is not in event_ids", position)
    if row["payload"] is not None:
        payload = bytes(postgres_log.envelope_of(row).payload)
        if sha256(payload).digest() != row["payload_sha256"]:
            raise LogCorrupt(f"the payload at position {position} does not match its hash: it was changed", position)
    if _link(row, chain, origin) != row["chain"]:
        raise LogCorrupt(f"the event at position {position} does not match its chain hash: it was changed", position)


def _link(row: asyncpg.Record, chain: bytes, origin: Origin | None) -> bytes | None:
    """The chain hash that a row should have; None for one that was never appended so."""
    if origin is None:
        return None
    envelope = postgres_log.header_of(row, b"")
    try:
        return link(
            chain,
            row["position"],
            row["recorded_at"],
            origin,
            row["origin_offset"],
            envelope,
            row["payload_sha256"],
        )
    except struct.error:  # a number out of its range
        return None


async def content_hash(connection: asyncpg.Connection, name: str, version: int) -> str:
    """Return the SHA-256 of the logical content of a version; within one snapshot if the caller has one."""
    digest = sha256()
    projection = PROJECTIONS.get(name)
    content = decision_tables.content if projection is None else projection.content
    rows = _rows(connection, content(suffix_of(version)))
    if projection is not None and projection.canonical is not None:
        rows = _canonical(rows, projection.canonical)
    async for row in rows:
        digest.update(_encode(row))
    return digest.hexdigest()


async def _rows(connection: asyncpg.Connection, sql: str) -> AsyncIterator[Row]:
    async with connection.transaction():
        async for row in connection.cursor(sql, prefetch=_PREFETCH):
            yield tuple(row)


async def _canonical(rows: AsyncIterator[Row], canonical: Callable[[Sequence[Row]], Row]) -> AsyncIterator[Row]:
    """Rows that share their first column become one: there are never more of them in memory."""
    group: list[Row] = []
    async for row in rows:
        if group and row[0] != group[0][0]:
            yield canonical(group)
            group.clear()
        group.append(row)
    if group:
        yield canonical(group)


async def verify_projection(database: Database, name: str, owner: str, report: Callable[[Progress], None]) -> Verified:
    """Make a projection, or the decisions, beside the live one, to the same position; compare them; drop the copy."""
    reader = await database.connect(service=False)
    writer = await database.connect(service=False, durable=False)
    try:
        async with reader.transaction(isolation="repeatable_read", readonly=True):
            version, position, head = await reader.fetchrow(
                "select p.version, p.position, h.position from projections p, log_head h "
                "where name = $1 and state = 'live'",
                name,
            )
            live = await content_hash(reader, name, version)
        await _drop_abandoned(writer, name)
        async with lease_kept(database, owner):
            if name == decision_tables.NAME:
                copy = await decided_to(database, writer, owner, position, report)
            else:
                copy = await Rebuild(database, name, owner, report).copy_to(writer, position)
            rebuilt = await content_hash(writer, name, copy.version)
            await postgres_projections.drop_version(writer, name, copy.version, owner)
    finally:
        await reader.close()
        await writer.close()
    return Verified(name, position, head, live, rebuilt)


async def _drop_abandoned(connection: asyncpg.Connection, name: str) -> None:
    """A check that was killed left its copy behind."""
    for row in await connection.fetch("select version from projections where name = $1 and state = 'checking'", name):
        await postgres_projections.drop_version(connection, name, row["version"])
