"""How the log and the projections are doing, as PostgreSQL knows it: a few short queries, each bounded."""

from __future__ import annotations

from typing import Final

import asyncpg

from runstream_projections import decision_tables
from runstream_projections.projection import suffix_of
from runstream_schemas.errors import Unavailable
from runstream_schemas.status import (
    MOST_COUNTED,
    MOST_LISTED,
    DeadLetter,
    LogStatus,
    Parked,
    ProjectionStatus,
    Rejected,
    Stored,
    Waiting,
)

_HEAD: Final = "select position, recorded_at / 1000, encode(chain, 'hex') from log_head"

#: The time is that of the first event which the projection does not hold.
_PROJECTIONS: Final = (
    "select name, version, state, position, (select recorded_at from event_log l where l.position = p.position + 1) "
    "from projections p order by name, version"
)
_REJECTED: Final = "select position, code, message from decisions_vN where verdict = 'rejected'"
_WAITING: Final = "select waits_for from decisions_vN where verdict = 'waiting'"
_PARKED: Final = "select name, version, position, stream, reason from parked_events"
_DEAD_LETTERS: Final = (
    "select d.id, recorded_at / 1000, topic, partition, origin_offset, reason, length(bytes) "
    "from dead_letters d join log_origins o on o.id = d.origin_id"
)


async def read_status(connection: asyncpg.Connection, now_us: int) -> Stored:
    """Read it; ``now_us``, microseconds since the Unix epoch, is what lag is measured against."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        log = LogStatus(*await connection.fetchrow(_HEAD))
        rows = await connection.fetch(_PROJECTIONS)
        versions = {name: version for name, version, state, *_ in rows if state == "live"}
        if decision_tables.NAME not in versions:
            raise Unavailable("no version of the decisions is read at the moment")
        suffix = suffix_of(versions[decision_tables.NAME])
        rejected, waiting = (sql.replace("_vN", suffix) for sql in (_REJECTED, _WAITING))
        return Stored(
            log=log,
            projections=[_standing(*row, head=log.position, now_us=now_us) for row in rows],
            rejected=await _count(connection, rejected),
            last_rejected=[
                Rejected(*row)
                for row in await connection.fetch(f"{rejected} order by position desc limit {MOST_LISTED}")
            ],
            waiting=await _count(connection, waiting),
            waiting_for=[
                Waiting(*row)
                for row in await connection.fetch(
                    f"select waits_for, count(*) from ({waiting} limit {MOST_COUNTED}) as w "
                    f"group by 1 order by 2 desc, 1 limit {MOST_LISTED}"
                )
            ],
            parked=await _count(connection, _PARKED),
            first_parked=[
                Parked(*row)
                for row in await connection.fetch(f"{_PARKED} order by name, version, position limit {MOST_LISTED}")
            ],
            dead_letters=await _count(connection, "select from dead_letters"),
            last_dead_letters=[
                DeadLetter(*row)
                for row in await connection.fetch(f"{_DEAD_LETTERS} order by 1 desc limit {MOST_LISTED}")
            ],
        )


def _standing(
    name: str, version: int, state: str, position: int, behind_since: int | None, *, head: int, now_us: int
) -> ProjectionStatus:
    if state == "retired":
        return ProjectionStatus(name, version, state, position, None, None)
    lag_s = 0.0 if behind_since is None else max(0.0, (now_us - behind_since) / 1e6)
    return ProjectionStatus(name, version, state, position, max(0, head - position), lag_s)


async def _count(connection: asyncpg.Connection, query: str) -> int:
    counted: int = await connection.fetchval(f"select count(*) from ({query} limit {MOST_COUNTED}) as counted")
    return counted
