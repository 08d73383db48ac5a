"""Parking: an event that a projection cannot fold waits, and later events of its stream behind it; others go on."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from runstream_projections.catalogue import PROJECTIONS
from runstream_projections.projection import Batch, Effective, Statement
from runstream_schemas.errors import InvalidEvent
from runstream_services.adapters.postgres import is_of_the_data
from runstream_services.adapters.postgres_projections import Standing
from runstream_services.ports import Unreadable


def fold(standing: Standing, batch: Batch) -> list[Statement]:
    """Fold a batch into a version. Raises :class:`InvalidEvent` for an event of its types that nobody can read."""
    projection = PROJECTIONS[standing.name]
    for effective in batch.of(Unreadable):
        assert isinstance(effective.event, Unreadable)
        if effective.event.type in {handled.__name__ for handled in projection.handles}:
            raise InvalidEvent(effective.event.reason)
    return projection.fold(batch, standing.suffix)


def statement(standing: Standing, event: Effective, reason: str) -> Statement:
    """The statement that keeps an event as parked in a version of a projection."""
    return Statement(
        "insert into parked_events (name, version, position, stream, reason) values ($1, $2, $3, $4, $5) "
        "on conflict do nothing",
        (standing.name, standing.version, event.position, event.stream, reason.replace("\0", "\\0")),
    )


async def reasons(connection: asyncpg.Connection, standing: Standing, events: Sequence[Effective]) -> dict[str, str]:
    """Return why streams among those of ``events`` cannot be folded; folds by way of trial, and changes nothing.

    Streams are halved until each one at fault is alone.
    """
    reason = await _reason(connection, standing, events)
    if reason is None:
        return {}
    streams = list(dict.fromkeys(e.stream for e in events))
    if len(streams) == 1:
        return {streams[0]: reason}
    found: dict[str, str] = {}
    for half in (streams[: len(streams) // 2], streams[len(streams) // 2 :]):
        chosen = set(half)
        found |= await reasons(connection, standing, [e for e in events if e.stream in chosen])
    return found


async def at_fault(connection: asyncpg.Connection, standing: Standing, events: Sequence[Effective]) -> str | None:
    """Say which of ``events`` is the first that cannot be folded, and why; None where all can, by way of trial."""
    reason = await _reason(connection, standing, events)
    if reason is None:
        return None
    foldable, failing = 0, len(events)
    while failing - foldable > 1:
        middle = (foldable + failing) // 2
        found = await _reason(connection, standing, events[:middle])
        if found is None:
            foldable = middle
        else:
            failing, reason = middle, found
    event = events[failing - 1]
    return f"{standing.name} cannot fold position {event.position}, of {event.stream}: {reason}"


async def _reason(connection: asyncpg.Connection, standing: Standing, events: Sequence[Effective]) -> str | None:
    trial = connection.transaction()
    await trial.start()
    try:
        for folded in fold(standing, Batch(events)):
            await connection.execute(folded.sql, *folded.args)
    except Exception as error:
        if not is_of_the_data(error):
            raise
        return repr(error)
    finally:
        if not connection.is_closed():
            await trial.rollback()
    return None
