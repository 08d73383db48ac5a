"""What every endpoint needs: emit an event and wait for its decision; read a snapshot that holds all acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

import asyncpg
import msgspec
from runstream_schemas.codec import encode_payload
from runstream_schemas.envelope import Envelope
from runstream_schemas.errors import RequestError, Unavailable, missing
from runstream_schemas.events import CURRENT_VERSION, Event
from runstream_schemas.ids import run_stream, uuid7

from runstream_services.adapters.in_process_bus import InProcessBus
from runstream_services.adapters.postgres import Pool
from runstream_services.ports import Outcome, ReadSide, RunRegister

#: How long a request waits for the log or for a projection before it is answered 503 with Retry-After.
DEADLINE_S: Final = 15.0


class Gateway:
    """Writes go to the bus, reads to the projections; ``now_ms`` and ``randomness`` are the clock and the dice."""

    def __init__(
        self,
        bus: InProcessBus,
        pool: Pool,
        runs: RunRegister,
        projections: ReadSide,
        now_ms: Callable[[], int],
        randomness: Callable[[int], bytes],
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._bus = bus
        self._pool = pool
        self._runs = runs
        self._projections = projections
        self.now_ms = now_ms
        self.randomness = randomness
        self._deadline_s = deadline_s
        self._head_lock = asyncio.Lock()
        self._next_head: asyncio.Task[int] | None = None
        self._locations: dict[int, str | None] = {}
        self.truncated = 0

    def event_id(self) -> UUID:
        """A new event's id."""
        return uuid7(self.now_ms(), self.randomness(10))

    async def emit(self, stream: str, event: Event) -> Outcome:
        """Send an event and wait for its decision; raises what it was rejected with, as MLflow words it."""
        now_ms = self.now_ms()
        envelope = Envelope(
            id=uuid7(now_ms, self.randomness(10)),
            type=type(event).__name__,
            version=CURRENT_VERSION,
            stream=stream,
            sent_at=now_ms,
            payload=msgspec.Raw(encode_payload(event)),
        )
        outcome = await self._bus.emit(envelope, event, self._deadline_s)
        decision = outcome.decision
        if decision.verdict == "rejected":
            raise RequestError(decision.code or "INVALID_PARAMETER_VALUE", decision.message or "rejected")
        return outcome

    async def write_run(self, run_id: str, event: Event, *, metrics_only: bool = False) -> Outcome:
        """Emit an event of a run that exists.

        Raises 404 for an unknown run, after having looked at all that is acknowledged, and 409 for a run that a
        projection stopped folding (metrics are taken all the same: they are durable, and show after the repair).
        """
        stream = run_stream(run_id)
        if not self._runs.knows_run(run_id) and not await self._run_exists(run_id):
            raise missing(f"Run with id={run_id} not found")
        parked = self._projections.parked_at(stream)
        if parked is not None and not metrics_only:
            raise RequestError(
                "RESOURCE_CONFLICT",
                f"Run {run_id} is parked: projection {parked[0]} cannot fold its event at position {parked[1]}. "
                f"What was logged is safe. Run `runstream rebuild {parked[0]}` with a release that can fold it.",
            )
        return await self.emit(stream, event)

    async def _run_exists(self, run_id: str) -> bool:
        # Decisions commit with the append: what is acknowledged is decided, and visible to any new snapshot.
        async with self._pool.use("looking for a run") as connection:
            suffix = self._runs.suffix
            sql = "select exists (select from decision_runs_vN where run_id = $1)".replace("_vN", suffix)
            return bool(await connection.fetchval(sql, run_id))

    async def artifact_location(self, experiment_id: int) -> str | None:
        """Where an experiment was told to keep its artifacts; None: the server's own place. It never changes."""
        if experiment_id not in self._locations:
            async with self.snapshot(("experiments",)) as (connection, suffixes):
                sql = f"select artifact_location from experiments{suffixes['experiments']} where experiment_id = $1"
                row = await connection.fetchrow(sql, experiment_id)
            if row is None:
                raise missing(f"No Experiment with id={experiment_id} exists")
            if len(self._locations) > 10_000:
                self._locations.clear()
            self._locations[experiment_id] = row[0]
        return self._locations[experiment_id]

    @asynccontextmanager
    async def snapshot(self, names: Sequence[str]) -> AsyncIterator[tuple[asyncpg.Connection, dict[str, str]]]:
        """Lend a connection whose next statement sees everything that was acknowledged before this call.

        Also gives the endings of the table names of ``names``.
        """
        head = await self.head()
        suffixes = await self._projections.wait_for(names, head, self._deadline_s)
        async with self._pool.use("reading") as connection:
            yield connection, suffixes

    async def head(self) -> int:
        """The end of the log, read from PostgreSQL after this call; concurrent callers share one query."""
        task = self._next_head
        if task is None:
            task = self._next_head = asyncio.create_task(self._read_head())
        try:
            async with asyncio.timeout(self._deadline_s):
                return await asyncio.shield(task)
        except TimeoutError:
            raise Unavailable(f"PostgreSQL did not answer within {self._deadline_s:g} s") from None

    async def _read_head(self) -> int:
        async with self._head_lock:
            self._next_head = None  # who arrives from here on needs a later look
            async with self._pool.use("reading the head of the log") as connection:
                return int(await connection.fetchval("select position from log_head"))
