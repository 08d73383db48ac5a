"""Runs the ``decisions`` projection: loads the state that a batch needs, decides, and keeps what is hot in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import asyncpg
import structlog

from runstream_projections import decision_tables as tables
from runstream_projections.decisions import (
    Changes,
    Claim,
    Decision,
    Experiment,
    Lifecycle,
    Run,
    State,
    decide,
    waits_on,
)
from runstream_schemas.errors import CheckpointMoved, LogCorrupt
from runstream_schemas.events import RunLogged
from runstream_services.adapters import postgres_log, postgres_projections
from runstream_services.adapters.postgres import Line
from runstream_services.adapters.postgres_projections import Standing
from runstream_services.ports import Delivery, Draft, Recorded, Unreadable

log = structlog.get_logger()

#: Runs and experiments kept in memory; above it everything is forgotten and read again when needed.
CACHED: Final = 50_000

#: Events decided in one transaction while catching up.
CATCH_UP_EVENTS: Final = 2_000


class Decider:
    """Decides events in log order. One at a time, by the holder of the lease of ``decisions``."""

    def __init__(self, line: Line, owner: str, *, by_force: bool) -> None:
        self._line = line
        self._owner = owner
        self._by_force = by_force
        self._standing: Standing | None = None
        self._state = State()
        self._anything_waits = False

    @property
    def lease(self) -> tuple[int, str, int]:
        """(version, owner, epoch) of the checkpoint that this process holds."""
        standing = self.held
        return standing.version, self._owner, standing.epoch

    @property
    def held(self) -> Standing:
        """The version that is decided into. Raises :class:`CheckpointMoved` while there is none."""
        if self._standing is None:
            raise CheckpointMoved("the lease of decisions is not held")
        return self._standing

    def _sql(self, sql: str) -> str:
        return sql.replace("_vN", self.held.suffix)

    async def reset(self) -> None:
        """Forget cached state, take the lease, and decide what the log has and nobody decided."""
        before, self._standing = self._standing, None
        self._state = State()
        async with self._line.use("taking over the decisions") as connection:
            [taken] = await postgres_projections.take(connection, [tables.NAME], self._owner, by_force=self._by_force)
            if before is not None and before.version != taken.version:
                log.info("another version is read now", projection=tables.NAME, version=taken.version)
            await self.adopt(connection, taken)
            await self.catch_up(connection)

    async def adopt(self, connection: asyncpg.Connection, standing: Standing) -> None:
        """Decide into a version that this process owns: the live one, or one that is being rebuilt."""
        self._standing = standing
        self._state = State(next_experiment_id=await connection.fetchval(self._sql(tables.NEXT_EXPERIMENT)))
        self._anything_waits = await connection.fetchval(
            self._sql("select exists (select from decisions_vN where verdict = 'waiting')")
        )

    async def catch_up(self, connection: asyncpg.Connection, up_to: int | None = None) -> None:
        """Decide the events of the log after the checkpoint, batch by batch."""
        while True:
            standing = self.held
            page = await postgres_log.read_after(connection, standing.position, CATCH_UP_EVENTS, up_to=up_to)
            if page.end == standing.position:
                return
            claims = [_claim(event) for event in page.events]
            await self._load(connection, claims)
            changes = decide(self._state, claims)
            statements = tables.changes_to_statements(changes, standing.suffix)
            [self._standing] = await postgres_projections.move(
                connection, self._owner, [standing], page.end, statements
            )
            self._apply(changes)

    async def draft(self, after: int, deliveries: Sequence[Delivery]) -> Draft:
        """Decide ``deliveries`` as the events right after position ``after``."""
        claims = [
            Claim(position, d.envelope.id, d.envelope.stream, d.event)
            for position, d in enumerate(deliveries, after + 1)
        ]
        if not self._has_all(claims):
            async with self._line.use("reading what deciding needs") as connection:
                await self._load(connection, claims)
        changes = decide(self._state, claims)
        released = frozenset(at for _, at, _ in changes.late)
        experiments = [self._experiment_of(claim.stream[4:], changes) for claim in claims]
        return Draft(
            changes.decisions, experiments, released, tables.changes_to_statements(changes, self.held.suffix), changes
        )

    def accept(self, draft: Draft) -> None:
        """The draft was committed: later drafts build on it."""
        assert isinstance(draft.token, Changes)
        self._apply(draft.token)

    async def decided(self, positions: Sequence[int]) -> dict[int, Decision]:
        """Return the stored decisions among ``positions``; what is absent was accepted without a result."""
        if not positions:
            return {}
        async with self._line.use("reading decisions") as connection:
            rows = await connection.fetch(self._sql(tables.DECISIONS), positions)
        return {row["position"]: Decision(*row[1:]) for row in rows}

    def knows_run(self, run_id: str) -> bool:
        """Tell whether the run is certainly there; False says nothing."""
        return run_id in self._state.runs

    # State

    def _experiment_of(self, run_id: str, changes: Changes) -> int | None:
        run = self._state.runs.get(run_id) or changes.runs.get(run_id)
        return None if run is None else run.experiment_id

    def _has_all(self, claims: Sequence[Claim]) -> bool:
        """Tell whether the hot state decides these: metrics and tags of runs in memory, the commonest."""
        runs = self._state.runs
        for claim in claims:
            event = claim.event
            if type(event) is not RunLogged or event.params or claim.stream[4:] not in runs:
                return False
        return True

    async def _load(self, connection: asyncpg.Connection, claims: Sequence[Claim]) -> None:
        """Read into the state what deciding ``claims`` may look at and is not in memory."""
        state = self._state
        state.params, state.tags, state.waiting, state.waiting_counts = {}, set(), {}, {}
        if self._anything_waits:
            claims = [*claims, *await self._load_waiting(connection, waits_on(claims))]
        needs = tables.needs(claims)
        await self._load_runs(connection, [r for r in needs.runs if r not in state.runs])
        experiments = [e for e in needs.experiments if e not in state.experiments]
        names = [n for n in needs.names if n not in state.names]
        ensured = [e for e in needs.ensured if e not in state.ensured]
        if experiments or names or ensured:
            for row in await self._fetch(connection, tables.EXPERIMENTS, experiments, names, ensured):
                self._remember_experiment(*row[:4])
                if row[4] is not None:
                    state.ensured[row[4]] = row[0]
        missing = [f"run/{run_id}" for run_id in needs.runs if run_id not in state.runs]
        missing += [str(event_id) for event_id in needs.ensured if event_id not in state.ensured]
        if missing and self._anything_waits:
            state.waiting_counts = dict(map(tuple, await self._fetch(connection, tables.WAITING_COUNTS, missing)))
        if needs.params:
            state.params = dict(map(tuple, await self._fetch(connection, tables.PARAMS, b"".join(needs.params))))
        if needs.tags:
            state.tags = {row[0] for row in await self._fetch(connection, tables.TAGS, needs.tags)}

    async def _load_runs(self, connection: asyncpg.Connection, run_ids: list[str]) -> None:
        if not run_ids:
            return
        for row in await self._fetch(connection, tables.RUNS, run_ids):
            run_id, experiment_id, deleted, lifecycle_at, *experiment = row
            self._state.runs[run_id] = Run(experiment_id, Lifecycle(deleted, lifecycle_at))
            self._remember_experiment(experiment_id, *experiment)

    async def _load_waiting(self, connection: asyncpg.Connection, keys: list[str]) -> list[Claim]:
        """Read the events that wait for ``keys``, and those that wait for runs among them."""
        found: list[Claim] = []
        seen: set[str] = set()
        while keys := [key for key in dict.fromkeys(keys) if key not in seen]:
            seen.update(keys)
            rows = await self._fetch(connection, tables.WAITING, keys)
            waits_for = {row["position"]: row["waits_for"] for row in rows}
            events = await postgres_log.read_at(connection, list(waits_for))
            # One that cannot be read goes on waiting; what it waits for is decided all the same.
            claims = [_claim(event) for event in events if not isinstance(event.event, Unreadable)]
            for claim in claims:
                self._state.waiting.setdefault(waits_for[claim.position], []).append(claim)
            found += claims
            keys = waits_on(claims)
        return found

    async def _fetch(self, connection: asyncpg.Connection, sql: str, *arguments: Any) -> list[Any]:
        rows: list[Any] = await connection.fetch(self._sql(sql), *arguments)
        return rows

    def _remember_experiment(self, experiment_id: int, name: str, deleted: bool, lifecycle_at: int) -> None:
        self._state.experiments[experiment_id] = Experiment(name, Lifecycle(deleted, lifecycle_at))
        self._state.names[name] = experiment_id

    def _apply(self, changes: Changes) -> None:
        state = self._state
        state.runs.update(changes.runs)
        state.experiments.update(changes.experiments)
        state.ensured.update(changes.ensured)
        for name, number in changes.names.items():
            if number is None:
                state.names.pop(name, None)
            else:
                state.names[name] = number
        state.next_experiment_id = changes.next_experiment_id
        self._anything_waits = self._anything_waits or bool(changes.waiting)
        if len(state.runs) + len(state.experiments) + len(state.ensured) > CACHED:
            self._state = State(next_experiment_id=state.next_experiment_id)


def _claim(event: Recorded) -> Claim:
    """An event of the log as a claim. Raises :class:`LogCorrupt` for one that cannot be read: all later ones wait."""
    if isinstance(event.event, Unreadable):
        raise LogCorrupt(f"position {event.position} cannot be decided: {event.event.reason}", event.position)
    return Claim(event.position, event.envelope.id, event.envelope.stream, event.event)
