"""Rebuilds a projection: the same fold on an empty next version, from position 0, then one switch of what is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import asyncpg
import structlog

from runstream_projections import decision_tables
from runstream_projections.catalogue import PROJECTIONS
from runstream_projections.projection import Batch, Effective, suffix_of
from runstream_schemas.errors import InvalidEvent
from runstream_services.adapters import postgres_projections
from runstream_services.adapters.postgres import Database, is_of_the_data
from runstream_services.adapters.postgres_projections import Standing
from runstream_services.projector import parking
from runstream_services.projector.lease import lease_kept
from runstream_services.projector.service import read_effective

log = structlog.get_logger()

#: The switch folds what is left itself, with the live version held still; more than this is caught up first.
SWITCH_EVENTS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rebuild is."""

    name: str
    version: int
    position: int
    head: int


class Rebuild:
    """One projection's next version being filled, beside the live one, by this process."""

    def __init__(self, database: Database, name: str, owner: str, report: Callable[[Progress], None]) -> None:
        self._database = database
        self._projection = PROJECTIONS[name]
        self._owner = owner
        self._report = report

    async def run(self) -> int:
        """Fill the next version, switch to it, and return its number; the version read before is kept, retired."""
        connection = await self._database.connect(service=False, durable=False)
        try:
            async with lease_kept(self._database, self._owner):
                standing = await self._fill(connection, await self._begin(connection))
                while not await self._switch(connection, standing):
                    standing = await self._fill(connection, standing)
            return standing.version
        finally:
            await connection.close()

    async def copy_to(self, connection: asyncpg.Connection, position: int) -> Standing:
        """Fill a version of its own exactly up to ``position``, for a comparison; nobody reads it."""
        return await self._fill(connection, await self._create(connection, "checking"), position)

    async def _fill(self, connection: asyncpg.Connection, standing: Standing, up_to: int | None = None) -> Standing:
        while True:
            # Looked up for each step: decisions that come out the same may take the place of those that are read.
            decisions, decided_to = await decisions_of(connection)
            target = decided_to if up_to is None else up_to
            if standing.position >= target:
                return standing
            step = await read_effective(connection, suffix_of(decisions), standing.position, target, strict=True)
            if step is None:
                return standing
            standing = await self._fold(connection, standing, *step)
            self._report(Progress(self._projection.name, standing.version, standing.position, target))

    async def _fold(
        self, connection: asyncpg.Connection, standing: Standing, events: list[Effective], end: int
    ) -> Standing:
        """Raise :class:`InvalidEvent`, naming the position, for an event that cannot be folded."""
        try:
            statements = self._projection.fold(Batch(events), standing.suffix)
            [moved] = await postgres_projections.move(connection, self._owner, [standing], end, statements)
        except Exception as error:
            poison = await parking.at_fault(connection, standing, events) if is_of_the_data(error) else None
            if poison is None:
                raise
            raise InvalidEvent(f"{poison}. Rebuild with a release that can fold it") from error
        return moved

    async def _begin(self, connection: asyncpg.Connection) -> Standing:
        """Go on with a rebuild that was begun, also one that another process is at: it fails then; else begin one."""
        row = await connection.fetchrow(
            "update projections set owner = $2, epoch = epoch + 1, lease_until = now() + make_interval(secs => $4) "
            "where name = $1 and state = 'building' and revision = $3 returning name, version, epoch, position",
            self._projection.name,
            self._owner,
            self._projection.revision,
            float(postgres_projections.LEASE_S),
        )
        return Standing(*row) if row is not None else await self._create(connection, "building")

    async def _create(self, connection: asyncpg.Connection, state: str) -> Standing:
        made = self._projection
        return await postgres_projections.create_version(
            connection, made.name, made.revision, made.tables, state, self._owner
        )

    async def _switch(self, connection: asyncpg.Connection, standing: Standing) -> bool:
        """Make the filled version the one that is read; False when it is too far behind."""
        async with connection.transaction():
            await connection.execute("set local synchronous_commit = on")  # and with it all that was filled before
            # The live projector's compare-and-set waits here, then fails, and it goes on with the new version.
            live = await connection.fetchrow(
                "select version, position from projections where name = $1 and state = 'live' for update", standing.name
            )
            if live["position"] - standing.position > SWITCH_EVENTS:
                return False
            if live["position"] > standing.position:
                decisions, _ = await decisions_of(connection)
                step = await read_effective(
                    connection, suffix_of(decisions), standing.position, live["position"], strict=True
                )
                if step is None or step[1] < live["position"]:
                    return False
                await self._fold(connection, standing, *step)
            await postgres_projections.switch(connection, self._owner, standing)
            await connection.execute("delete from parked_events where name = $1", standing.name)
        return True


async def decisions_of(connection: asyncpg.Connection) -> tuple[int, int]:
    """Return (version, position) of the decisions that are read."""
    row = await connection.fetchrow(
        "select version, position from projections where name = $1 and state = 'live'", decision_tables.NAME
    )
    return row["version"], row["position"]


async def drop_retired(connection: asyncpg.Connection) -> list[str]:
    """Drop the versions that nobody reads any more and the unfinished ones; return their names.

    What another process is filling is kept.
    """
    rows = await connection.fetch("select name, version from projections where state <> 'live' order by 1, 2")
    dropped = []
    for name, version in rows:
        if await postgres_projections.drop_version(connection, name, version):
            dropped.append(f"{name}{suffix_of(version)}")
        else:
            log.warning("a version is kept: another process fills it", version=f"{name}{suffix_of(version)}")
    return dropped
