"""The catalogue of projections on PostgreSQL: versions, checkpoints, leases, and running what a fold returns."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Final, NamedTuple

import asyncpg

from runstream_projections import decision_tables
from runstream_projections.catalogue import PROJECTIONS
from runstream_projections.projection import Statement, suffix_of
from runstream_schemas.errors import CheckpointMoved, StartupError
from runstream_services.adapters.postgres import SERVICE_ROLE

#: How long an owner that says nothing keeps its projections.
LEASE_S: Final = 10

#: Argument: a projection's name.
LIVE_VERSION: Final = "select version from projections where name = $1 and state = 'live'"

#: (name, revision, tables) of everything that this release projects, decisions first.
DEFINED: Final = (
    (decision_tables.NAME, decision_tables.REVISION, decision_tables.TABLES),
    *((p.name, p.revision, p.tables) for p in PROJECTIONS.values()),
)


class Standing(NamedTuple):
    """A version of a projection as its owner holds it."""

    name: str
    version: int
    epoch: int
    position: int

    @property
    def suffix(self) -> str:
        """The ending of its tables' names."""
        return suffix_of(self.version)


def ddl(name: str, version: int) -> str:
    """The statements that make one version's empty tables."""
    source = resources.files("runstream_projections") / "sql" / f"{name}.sql"
    return source.read_text(encoding="utf-8").replace("_vN", suffix_of(version))


async def create_version(
    connection: asyncpg.Connection,
    name: str,
    revision: int,
    tables: Sequence[str],
    state: str,
    owner: str | None = None,
) -> Standing:
    """Make the next version of a projection, empty, for ``owner`` to fill; as the owner of the database."""
    async with connection.transaction():
        await connection.execute("lock table projections in share row exclusive mode")
        row = await connection.fetchrow(
            "insert into projections (name, version, revision, state, position, owner, epoch, lease_until) "
            "select $1, coalesce(max(version), 0) + 1, $2, $3, 0, $4, 1, now() + make_interval(secs => $5) "
            "from projections where name = $1 returning name, version, epoch, position",
            name,
            revision,
            state,
            owner,
            float(LEASE_S),
        )
        standing = Standing(*row)
        await connection.execute(ddl(name, standing.version))
        if await connection.fetchval("select to_regrole($1) is not null", SERVICE_ROLE):
            names = ", ".join(table + standing.suffix for table in tables)
            await connection.execute(f"grant select, insert, update, delete on {names} to {SERVICE_ROLE}")
    return standing


async def drop_version(connection: asyncpg.Connection, name: str, version: int, owner: str | None = None) -> bool:
    """Drop a version that nobody reads or fills, besides ``owner``, and its tables; tell whether it was dropped."""
    tables = next(tables for known, _, tables in DEFINED if known == name)
    async with connection.transaction():
        gone = await connection.execute(
            "delete from projections where name = $1 and version = $2 and state <> 'live' "
            "and (owner is null or owner = $3 or lease_until < now())",
            name,
            version,
            owner,
        )
        if gone == "DELETE 1":
            await connection.execute("drop table " + ", ".join(table + suffix_of(version) for table in tables))
    return bool(gone == "DELETE 1")


async def switch(connection: asyncpg.Connection, owner: str, standing: Standing) -> None:
    """Make the version that ``owner`` filled the one that is read, in the caller's transaction.

    Raises :class:`CheckpointMoved` where another process took it over or gave it up.
    """
    await connection.execute(
        "update projections set state = 'retired', owner = null, lease_until = null, epoch = epoch + 1 "
        "where name = $1 and state = 'live'",
        standing.name,
    )
    switched = await connection.execute(
        "update projections set state = 'live', owner = null, lease_until = null, epoch = epoch + 1 "
        "where name = $1 and version = $2 and owner = $3 and epoch = $4 and state in ('building', 'checking')",
        standing.name,
        standing.version,
        owner,
        standing.epoch,
    )
    if switched != "UPDATE 1":
        raise CheckpointMoved(f"{standing.name}{standing.suffix} was taken over or given up by another process")


async def ensure_live(owner: asyncpg.Connection) -> None:
    """Make the first version of each projection that has none; the projector fills it from position 0.

    Raises :class:`StartupError` where the version that is read follows another revision of the definition.
    """
    async with owner.transaction():
        await owner.execute(
            "lock table projections in share row exclusive mode"
        )  # of two starts at once one makes them
        rows = await owner.fetch("select name, revision from projections where state = 'live'")
        revisions = {row["name"]: row["revision"] for row in rows}
        for name, revision, tables in DEFINED:
            if name not in revisions:
                await create_version(owner, name, revision, tables, "live")
            elif revisions[name] != revision:
                raise StartupError(
                    f"projection {name} is at revision {revisions[name]}, this release has {revision}: "
                    f"run `runstream rebuild {name}`"
                )


async def take(connection: asyncpg.Connection, names: Sequence[str], owner: str, *, by_force: bool) -> list[Standing]:
    """Become the owner of the live versions of ``names``: of all of them, or of none where a live owner holds one.

    ``by_force`` takes them all the same: for a process that knows itself to be alone on the data. Raises
    :class:`CheckpointMoved` where one is held.
    """
    async with connection.transaction():
        rows = await connection.fetch(
            "update projections set owner = $2, epoch = epoch + 1, lease_until = now() + make_interval(secs => $3) "
            "where state = 'live' and name = any($1::text[]) "
            "and ($4 or owner is null or owner = $2 or lease_until < now()) returning name, version, epoch, position",
            names,
            owner,
            float(LEASE_S),
            by_force,
        )
        held = sorted(set(names) - {row["name"] for row in rows})
        if held:
            raise CheckpointMoved(
                f"another process holds {', '.join(held)}; it gives up its lease within seconds after it stops"
            )
    return [Standing(*row) for row in rows]


async def confirm_lease(connection: asyncpg.Connection, owner: str, standing: Standing) -> None:
    """Raise :class:`CheckpointMoved` unless ``owner`` holds this version, in the caller's transaction.

    The lock keeps the version from being dropped. It keeps nobody from moving the checkpoint or taking the lease over:
    a process that is paused in its transaction must not hold up its successor. So what the caller changes must also
    fail where the successor was quicker.
    """
    held = await connection.fetchval(
        "select true from projections where name = $1 and version = $2 and epoch = $3 and owner = $4 for key share",
        standing.name,
        standing.version,
        standing.epoch,
        owner,
    )
    if not held:
        raise CheckpointMoved(f"another owner has {standing.name}{standing.suffix}")


async def live(connection: asyncpg.Connection) -> list[Standing]:
    """Return the versions that are read, whoever owns them."""
    rows = await connection.fetch("select name, version, epoch, position from projections where state = 'live'")
    return [Standing(*row) for row in rows]


async def renew(connection: asyncpg.Connection, owner: str) -> int:
    """Keep what ``owner`` holds for another lease; return how many of those were idle.

    A row that is locked is in the middle of a move, which keeps its lease by itself; waiting for it would hold the
    rows before it, and with the row of ``decisions`` every append.
    """
    done: str = await connection.execute(
        "update projections p set lease_until = now() + make_interval(secs => $2) from (select name, version "
        "from projections where owner = $1 for update skip locked) t "
        "where p.name = t.name and p.version = t.version",
        owner,
        float(LEASE_S),
    )
    return int(done.rsplit(maxsplit=1)[-1])


async def release(connection: asyncpg.Connection, owner: str) -> None:
    """Give up what ``owner`` holds, so that the next one need not wait."""
    await connection.execute("update projections set owner = null, lease_until = null where owner = $1", owner)


async def move(
    connection: asyncpg.Connection,
    owner: str,
    standing: Sequence[Standing],
    to: int,
    statements: Sequence[Statement],
) -> list[Standing]:
    """Apply what was folded and move the checkpoints from where they stand to ``to``, in one transaction.

    Raises :class:`CheckpointMoved` and changes nothing when one of them has another owner or stands elsewhere.
    """
    async with connection.transaction():
        await checkpoint(connection, owner, standing, to)
        for statement in statements:
            await connection.execute(statement.sql, *statement.args)
    return [s._replace(position=to) for s in standing]


async def checkpoint(connection: asyncpg.Connection, owner: str, standing: Sequence[Standing], to: int) -> None:
    """Move the checkpoints by compare-and-set, within the caller's transaction."""
    moved = await connection.execute(
        "update projections p set position = $6, lease_until = now() + make_interval(secs => $7) "
        "from unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[]) "
        "as t (name, version, epoch, position) where p.name = t.name and p.version = t.version "
        "and p.epoch = t.epoch and p.position = t.position and p.owner = $5 and p.state <> 'retired'",
        [s.name for s in standing],
        [s.version for s in standing],
        [s.epoch for s in standing],
        [s.position for s in standing],
        owner,
        to,
        float(LEASE_S),
    )
    if moved != f"UPDATE {len(standing)}":
        names = ", ".join(f"{s.name}{s.suffix} at {s.position}" for s in standing)
        raise CheckpointMoved(f"another owner has, or has moved, one of: {names}")
