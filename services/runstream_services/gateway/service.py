"""What every endpoint needs: emit an event and wait for its decision; read a snapshot that holds all acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import asyncpg
import msgspec

from runstream_projections import decision_tables, reads
from runstream_projections.projection import suffix_of
from runstream_projections.suffixes import EXPERIMENT_PROJECTIONS, Suffixes
from runstream_schemas.codec import encode_payload
from runstream_schemas.envelope import Envelope
from runstream_schemas.errors import RequestError, Transient, Unavailable, invalid, missing
from runstream_schemas.events import CURRENT_VERSION, Event
from runstream_schemas.ids import EXPERIMENTS, run_stream, uuid7
from runstream_services.adapters.in_process_bus import InProcessBus
from runstream_services.adapters.postgres import Pool
from runstream_services.adapters.postgres_projections import LIVE_VERSION
from runstream_services.gateway import rules
from runstream_services.ports import Outcome, ReadSide, RunRegister

#: How long a request waits for the log or for a projection before it is answered 503 with Retry-After.
DEADLINE_S: Final = 15.0

#: How long one query of a read may take in PostgreSQL.
QUERY_S: Final = 10

#: Settings of the connections that reads use. A plan is made for each query's own values: the best depends on them.
READER_SETTINGS: Final = {
    "statement_timeout": f"{QUERY_S}s",
    "plan_cache_mode": "force_custom_plan",
    "work_mem": "32MB",
    "random_page_cost": "1.1",  # what is searched is mostly in memory
}

#: Experiments whose artifact location is remembered.
CACHED_LOCATIONS: Final = 10_000


T = TypeVar("T")


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
            raise missing(f"Run with id={run_id[: rules.MAX_RUN_ID]} not found")
        if not metrics_only:
            self._refuse_parked(stream, f"Run {run_id} is")
        return await self.emit(stream, event)

    async def write_experiments(self, event: Event) -> Outcome:
        """Emit an event of the experiments; 409 where a projection stopped folding them."""
        self.refuse_parked_experiments()
        return await self.emit(EXPERIMENTS, event)

    def refuse_parked_experiments(self) -> None:
        """Raise 409 where a projection stopped folding the experiments: what is written would not be seen."""
        self._refuse_parked(EXPERIMENTS, "The experiments are")

    def _refuse_parked(self, stream: str, what: str) -> None:
        parked = self._projections.parked_at(stream)
        if parked is not None:
            raise RequestError(
                "RESOURCE_CONFLICT",
                f"{what} parked: projection {parked[0]} cannot fold the event at position {parked[1]}. "
                f"What was logged is safe. Run `runstream rebuild {parked[0]}` with a release that can fold it.",
            )

    def hidden_by(self, run_id: str) -> str | None:
        """The projection that does not show what is logged to this run, since it could not fold an earlier event."""
        parked = self._projections.parked_at(run_stream(run_id))
        return None if parked is None else parked[0]

    async def _run_exists(self, run_id: str) -> bool:
        async def attempt() -> list[asyncpg.Record]:
            # Decisions commit with the append: what is acknowledged is decided, and visible to any new snapshot. Which
            # version is live only the catalogue knows: who decides notices a new one when it appends.
            [live] = await self._select(LIVE_VERSION, decision_tables.NAME)
            sql = f"select exists (select from decision_runs{suffix_of(live['version'])} where run_id = $1)"
            return await self._select(sql, run_id)

        rows = await self._retried("looking for a run", attempt)
        return bool(rows[0][0])

    async def artifact_location(self, experiment_id: int) -> str | None:
        """Where an experiment was told to keep its artifacts; None: the server's own place. It never changes."""
        if experiment_id not in self._locations:
            rows = await self.fetch(EXPERIMENT_PROJECTIONS, reads.artifact_location_query, experiment_id)
            if not rows:
                raise missing(f"No Experiment with id={experiment_id} exists")
            if len(self._locations) > CACHED_LOCATIONS:
                self._locations.clear()
            self._locations[experiment_id] = rows[0][0]
        return self._locations[experiment_id]

    async def fetch(
        self, names: Sequence[str], query: Callable[[Suffixes], str], *arguments: Any
    ) -> list[asyncpg.Record]:
        """Run one query: :meth:`read` for what takes no more; ``query`` makes its SQL."""

        async def run(connection: asyncpg.Connection, suffixes: Suffixes) -> list[asyncpg.Record]:
            rows: list[asyncpg.Record] = await connection.fetch(query(suffixes), *arguments)
            return rows

        return await self.read(names, run)

    async def read(self, names: Sequence[str], work: Callable[[asyncpg.Connection, Suffixes], Awaitable[T]]) -> T:
        """Read what sees everything that was acknowledged before this call; ``work`` reads one snapshot.

        It is given a connection and the endings of the table names of ``names``. While PostgreSQL restarts it is begun
        again: a client that only reads does not notice. Raises :class:`Unavailable` past the deadline, and 400 for a
        query that takes longer than :data:`QUERY_S`.
        """

        async def attempt() -> T:
            suffixes = await self._projections.wait_for(names, await self.head(), self._deadline_s)
            return await self._on_reader(lambda connection: work(connection, suffixes))

        return await self._retried("reading", attempt)

    async def _select(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        async def run(connection: asyncpg.Connection) -> list[asyncpg.Record]:
            rows: list[asyncpg.Record] = await connection.fetch(sql, *arguments)
            return rows

        return await self._on_reader(run)

    async def _on_reader(self, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        try:
            async with self._pool.use("reading") as connection:
                try:
                    return await work(connection)
                except asyncpg.QueryCanceledError as error:
                    raise invalid(
                        f"The query took longer than {QUERY_S} s, its limit: ask for less at once."
                    ) from error
        except asyncpg.DataError as error:
            raise invalid(f"The request holds a value that cannot be searched for: {error}.") from error

    async def _retried(self, doing: str, attempt: Callable[[], Awaitable[T]]) -> T:
        pause_s = 0.05
        try:
            async with asyncio.timeout(self._deadline_s):
                while True:
                    try:
                        return await attempt()
                    except (Transient, asyncpg.UndefinedTableError):
                        # A version that was read may have been dropped a moment ago: look again at what is read.
                        await asyncio.sleep(pause_s)
                        pause_s = min(1.0, 2 * pause_s)
        except TimeoutError:
            raise Unavailable(f"{doing}: PostgreSQL did not answer within {self._deadline_s:g} s") from None

    async def head(self) -> int:
        """The end of the log, read from PostgreSQL after this call; concurrent callers share one query."""
        task = self._next_head
        if task is None:
            task = self._next_head = asyncio.create_task(self._read_head())
            task.add_done_callback(_looked_at)
        return await asyncio.shield(task)

    async def _read_head(self) -> int:
        async with self._head_lock:
            self._next_head = None  # who arrives from here on needs a later look
            rows = await self._select("select position from log_head")
            return int(rows[0][0])


def _looked_at(task: asyncio.Task[int]) -> None:
    """Its callers may have gone, their deadline past: asyncio would then print what it failed of."""
    if not task.cancelled():
        task.exception()
