"""The event log on PostgreSQL: append under the head row, read by position, look up by event id."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, chain
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg
import msgspec
import structlog
import zstandard

from runstream_projections.projection import Statement, together
from runstream_schemas.codec import MAX_ENVELOPE_BYTES, decode_payload, encode
from runstream_schemas.envelope import Envelope
from runstream_schemas.errors import LogCorrupt, OriginMoved, Undecodable, UnknownEventType
from runstream_schemas.positions import Head, Origin
from runstream_services.adapters.postgres_projections import LEASE_S
from runstream_services.ports import Delivery, Numbered, Recorded, Unreadable

log = structlog.get_logger()

_APPEND: Final = f"append_events({', '.join(f'${number}' for number in range(1, 15))})"
_encode: Final = msgspec.json.Encoder().encode
_COLUMNS: Final = "position, event_id, type, version, stream, sent_at, payload, actor, writer, sequence"

#: The row of one event, for :func:`recorded`.
EVENT: Final = f"select {_COLUMNS} from event_log where position = $1"


class _Zstd(threading.local):
    """The decompressor of one thread: it cannot be shared."""

    def __init__(self) -> None:
        self.decompressor = zstandard.ZstdDecompressor()


_zstd: Final = _Zstd()


async def read_head(connection: asyncpg.Connection) -> Head:
    """The end of the log as this connection sees it now."""
    row = await connection.fetchrow("select position, chain, recorded_at from log_head")
    return Head(row["position"], row["chain"], row["recorded_at"])


async def open_origin(connection: asyncpg.Connection, origin: Origin) -> tuple[int, int]:
    """Return (id, next offset) of an origin; a new one starts at offset 0."""
    row = await connection.fetchrow(
        "insert into log_origins (topic, partition, next_offset) values ($1, $2, 0) "
        "on conflict (topic, partition) do update set topic = excluded.topic returning id, next_offset",
        origin.topic,
        origin.partition,
    )
    return row["id"], row["next_offset"]


async def append(
    connection: asyncpg.Connection,
    before: Head,
    numbered: Numbered,
    deliveries: Sequence[Delivery],
    origin: tuple[int, int, int],
    lease: tuple[int, str, int] | None,
    statements: Sequence[Statement],
) -> None:
    """Append in one transaction and one round trip, with the decisions' rows where this process decides.

    ``origin`` is (id, next offset expected, next offset then); ``lease`` that of the decisions. Raises
    :class:`HeadMoved`, :class:`OriginMoved`, :class:`CheckpointMoved`, or asyncpg's UniqueViolationError for an event
    id that the log has.
    """
    arguments = _append_arguments(before, numbered, deliveries, origin, lease)
    whole = together(_APPEND, arguments, statements)
    await connection.execute(whole.sql, *whole.args)


def _append_arguments(
    before: Head,
    numbered: Numbered,
    deliveries: Sequence[Delivery],
    origin: tuple[int, int, int],
    lease: tuple[int, str, int] | None,
) -> tuple[Any, ...]:
    events = [
        {
            "event_id": envelope.id,
            "stream": envelope.stream,
            "type": envelope.type,
            "version": envelope.version,
            "actor": envelope.actor,
            "sent_at": envelope.sent_at,
            "writer": envelope.writer,
            "sequence": envelope.sequence,
            "origin_offset": delivery.offset,
        }
        for delivery in deliveries
        for envelope in (delivery.envelope,)
    ]
    return (
        before.position,
        before.chain,
        *origin,
        numbered.head.recorded_at,
        _encode(events).decode(),
        numbered.payloads,
        b"".join(numbered.hashes),
        b"".join(numbered.chains),
        *(lease or (None, None, None)),
        float(LEASE_S),
    )


async def dead_letter(
    connection: asyncpg.Connection, origin: tuple[int, int], delivery: Delivery, reason: str, now_us: int
) -> None:
    """Keep what can never be an event with its reason, and move its origin past it, in one transaction.

    ``origin`` is (id, next offset expected). Raises :class:`OriginMoved` where it is not.
    """
    origin_id, expected = origin
    async with connection.transaction():
        moved = await connection.execute(
            "update log_origins set next_offset = $3 where id = $1 and next_offset = $2",
            origin_id,
            expected,
            delivery.offset + 1,
        )
        if moved != "UPDATE 1":
            raise OriginMoved(f"origin {origin_id} does not continue at offset {expected}")
        await connection.execute(
            "insert into dead_letters (recorded_at, origin_id, origin_offset, reason, bytes) "
            "values ($1, $2, $3, $4, $5)",
            now_us,
            origin_id,
            delivery.offset,
            _storable(reason),
            _bytes_of(delivery.envelope),
        )


def _storable(text: str) -> str:
    """The text with what PostgreSQL cannot store spelled out: NUL and lone surrogates."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def _bytes_of(envelope: Envelope) -> bytes:
    """The envelope as it travels; a lone surrogate, which cannot travel, is spelled out."""
    try:
        return encode(envelope)
    except UnicodeEncodeError:
        texts = {name: getattr(envelope, name) for name in ("type", "stream", "actor", "writer")}
        spelled = {name: None if text is None else _storable(text) for name, text in texts.items()}
        return encode(msgspec.structs.replace(envelope, **spelled))


async def positions_of(connection: asyncpg.Connection, ids: Sequence[UUID]) -> dict[UUID, int]:
    """Return where the events among ``ids`` that the log has are."""
    rows = await connection.fetch("select event_id, position from event_ids where event_id = any($1::uuid[])", ids)
    return {row["event_id"]: row["position"] for row in rows}


class Page(NamedTuple):
    """Events of a stretch of the log; ``end`` is its last position, whether or not that event could be read."""

    events: list[Recorded]
    end: int


async def read_after(
    connection: asyncpg.Connection,
    after: int,
    limit: int,
    *,
    up_to: int | None = None,
    max_bytes: int = 6 << 20,
    strict: bool = False,
) -> Page:
    """Return the next events in order: at most ``limit``, about ``max_bytes``, but one if there is one.

    ``strict`` raises :class:`UnknownEventType` for one that this release does not know, in place of leaving it out, and
    what is wrong with one that cannot be decoded.
    """
    rows = await connection.fetch(
        f"select {_COLUMNS} from (select *, sum(coalesce(length(payload), 0)) over (order by position) as bytes "
        "from event_log where position > $1 and position <= $1 + $2 and position <= coalesce($3, position)) as page "
        "where bytes - coalesce(length(payload), 0) <= $4 order by position",
        after,
        limit,
        up_to,
        max_bytes,
    )
    # What compresses well is small as stored and large as read.
    sizes = accumulate(_plain_size(row["payload"]) for row in rows)
    rows = [row for row, size in zip(rows, chain([0], sizes), strict=False) if size < max_bytes]
    # Thousands of events take a second to decode: requests are answered meanwhile.
    events = await asyncio.to_thread(_recorded, rows, strict)
    return Page(events, rows[-1]["position"] if rows else after)


def _plain_size(stored: bytes | None) -> int:
    """The bytes that a payload declares to be; one that does not is found out where it is decompressed."""
    try:
        return 0 if stored is None else max(0, int(zstandard.frame_content_size(stored)))
    except zstandard.ZstdError:
        return 0


def _recorded(rows: Sequence[asyncpg.Record], strict: bool) -> list[Recorded]:
    return [event for row in rows if (event := recorded(row, strict=strict)) is not None]


async def read_at(connection: asyncpg.Connection, positions: Sequence[int]) -> list[Recorded]:
    """Return the events at ``positions``, in order."""
    rows = await connection.fetch(
        f"select {_COLUMNS} from event_log where position = any($1::bigint[]) order by position", positions
    )
    return [event for row in rows if (event := recorded(row)) is not None]


def envelope_of(row: asyncpg.Record) -> Envelope:
    """Return the envelope as it was sent. Raises :class:`LogCorrupt` where the payload does not decompress."""
    stored = row["payload"]
    try:
        # zstd allocates what a frame declares; what is appended always declares it, and ends with the frame.
        size = zstandard.frame_content_size(stored)
        if not 0 <= size <= MAX_ENVELOPE_BYTES:
            raise zstandard.ZstdError(f"it declares {size} bytes")
        payload = _zstd.decompressor.decompress(stored, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise LogCorrupt(f"the payload at position {row['position']} is damaged: {error}", row["position"]) from error
    return header_of(row, payload)


def header_of(row: asyncpg.Record, payload: bytes) -> Envelope:
    """Return the envelope of a row around a payload."""
    return Envelope(
        id=row["event_id"],
        type=row["type"],
        version=row["version"],
        stream=row["stream"],
        sent_at=row["sent_at"],
        payload=msgspec.Raw(payload),
        actor=row["actor"],
        writer=row["writer"],
        sequence=row["sequence"],
    )


@lru_cache(maxsize=100)
def _say_left_out(kind: str, version: int) -> None:
    """Once for each: a newer release writes to this log."""
    log.warning("events that this release does not know are left out", type=kind, version=version)


def recorded(row: asyncpg.Record, *, strict: bool = False) -> Recorded | None:
    """Return the event of a row of the log, None where this release cannot know it.

    One that cannot be decoded is :class:`Unreadable`; ``strict`` raises what is wrong with it, with its position.
    """
    if row["payload"] is None:
        return None
    try:
        envelope = envelope_of(row)
        return Recorded(row["position"], envelope, decode_payload(envelope))
    except (UnknownEventType, Undecodable) as error:
        if strict:
            raise type(error)(f"position {row['position']}: {error}") from error
        if isinstance(error, UnknownEventType):
            _say_left_out(row["type"], row["version"])
            return None
        reason = str(error)
    except LogCorrupt as error:
        if strict:
            raise
        reason = str(error)
    return Recorded(row["position"], header_of(row, b""), Unreadable(row["type"], reason))
