"""What every endpoint needs: emit an event and wait for its decision; read a snapshot that holds all acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, NamedTuple, TypeVar

import asyncpg
import msgspec

from runstream_projections import decision_tables, reads
from runstream_projections.catalogue import PROJECTIONS
from runstream_projections.decisions import Decision
from runstream_projections.projection import suffix_of
from runstream_projections.suffixes import EXPERIMENT_PROJECTIONS, Suffixes
from runstream_schemas.codec import encode_payload
from runstream_schemas.envelope import Envelope
from runstream_schemas.errors import RequestError, Transient, Unavailable, invalid, missing
from runstream_schemas.events import CURRENT_VERSION, Event
from runstream_schemas.ids import EXPERIMENTS, run_stream, uuid7
from runstream_schemas.status import Process
from runstream_services.adapters.in_process_bus import InProcessBus
from runstream_services.adapters.postgres import Pool
from runstream_services.adapters.postgres_log import EVENT, recorded
from runstream_services.adapters.postgres_projections import LIVE_VERSION
from runstream_services.gateway import rules
from runstream_services.gateway.sender import Sender
from runstream_services.ports import Outcome, ReadSide, RunRegister

T = TypeVar("T")

#: Runs a query with its arguments.
Select = Callable[..., Awaitable[list[asyncpg.Record]]]

#: How long a request waits for the log or for a projection before it is answered 503 with Retry-After.
DEADLINE_S: Final = 15.0

#: How long one query of a read may take in PostgreSQL.
QUERY_S: Final = 10

#: Settings of the connections that reads use, and of those that search: there a plan is made for each query's own
#: values, since the best depends on them, and what is searched is mostly in memory.
READER_SETTINGS: Final = {"statement_timeout": f"{QUERY_S}s"}
SEARCHER_SETTINGS: Final = {
    **READER_SETTINGS,
    "plan_cache_mode": "force_custom_plan",
    "work_mem": "32MB",
    "random_page_cost": "1.1",
}

#: Reads of several queries at once: they hold a connection in between, and other reads must find one.
SNAPSHOTS: Final = 2

#: How often the log is looked at for a position that it does not have yet.
POLL_S: Final = 0.05

#: Experiments whose artifact location is remembered.
CACHED_LOCATIONS: Final = 10_000


class Emitted(NamedTuple):
    """An event that was accepted: that of the first call, where this one repeats it."""

    position: int
    decision: Decision
    stream: str
    event: Event


class Gateway:
    """Writes go to the bus, reads to the projections.

    ``now_ms`` and ``randomness`` are the clock and the dice; ``process`` tells what this process does.
    """

    def __init__(
        self,
        bus: InProcessBus,
        pool: Pool,
        runs: RunRegister,
        projections: ReadSide,
        now_ms: Callable[[], int],
        randomness: Callable[[int], bytes],
        deadline_s: float = DEADLINE_S,
        searchers: Pool | None = None,
        process: Callable[[], Process] = Process,
    ) -> None:
        self._bus = bus
        self._pool = pool
        self._searchers = searchers or pool
        self._runs = runs
        self._projections = projections
        self.now_ms = now_ms
        self.randomness = randomness
        self._deadline_s = deadline_s
        self._head_lock = asyncio.Lock()
        self._next_head: asyncio.Task[int] | None = None
        self._locations: dict[int, str | None] = {}
        self.truncated = 0
        self._snapshots = asyncio.Semaphore(SNAPSHOTS)
        #: What this process has done and has in hand.
        self.process = process
        #: Answers by hundreds of their status.
        self.answers = [0] * 6

    async def emit(self, stream: str, event: Event, sender: Sender) -> Emitted:
        """Send an event and wait for its decision; raises what it was rejected with, as MLflow words it.

        A call that repeats another by its key gets that one's decision and event. Raises 409 where their bodies differ.
        """
        now_ms = self.now_ms()
        envelope = Envelope(
            id=sender.event_id or uuid7(now_ms, self.randomness(10)),
            type=type(event).__name__,
            version=CURRENT_VERSION,
            stream=stream,
            sent_at=now_ms,
            payload=msgspec.Raw(encode_payload(event)),
            actor=sender.actor,
            writer=sender.writer,
        )
        position, decision, repeats = await self._bus.emit(envelope, event, self._deadline_s)
        if repeats and sender.event_id is not None:
            stream, event = await self._first_of(position, sender, type(event))
        if decision.verdict == "rejected":
            raise RequestError(decision.code or "INVALID_PARAMETER_VALUE", decision.message or "rejected")
        return Emitted(position, decision, stream, event)

    async def _first_of(self, position: int, sender: Sender, kind: type[Event]) -> tuple[str, Event]:
        """The stream and the event of the call that had a key first; 409 where it is not the same call."""
        rows = await self._retried("reading an earlier call", lambda: self._select(EVENT, position))
        first = recorded(rows[0])
        if first is None or first.envelope.writer != sender.writer or type(first.event) is not kind:
            raise RequestError(
                "RESOURCE_CONFLICT",
                "The Idempotency-Key was used before, for a call of this endpoint with another body: take a new key "
                "for each call, and the same one only to send the very same again.",
            )
        return first.envelope.stream, first.event

    async def emit_all(self, events: Sequence[tuple[Envelope, Event]]) -> list[Outcome | RequestError]:
        """Send events that carry their own ids, in this order, and wait for what becomes of each.

        Raises :class:`Unavailable` where that is not known of all of them: sent again, they are the same events.
        """
        return await self._bus.emit_all(events, self._deadline_s)

    async def write_run(self, run_id: str, event: Event, sender: Sender, *, metrics_only: bool = False) -> Emitted:
        """Emit an event of a run that exists.

        Raises 404 for an unknown run, after having looked at all that is acknowledged, and 409 for a run that a
        projection stopped folding (metrics are taken all the same: they are durable, and show after the repair).
        """
        stream = run_stream(run_id)
        if not self._runs.knows_run(run_id) and not await self._run_exists(run_id):
            raise missing(f"Run with id={run_id[: rules.MAX_RUN_ID]} not found")
        if not metrics_only:
            self._refuse_parked(stream, f"Run {run_id} is")
        return await self.emit(stream, event, sender)

    async def write_experiments(self, event: Event, sender: Sender) -> Emitted:
        """Emit an event of the experiments; 409 where a projection stopped folding them."""
        self.refuse_parked_experiments()
        return await self.emit(EXPERIMENTS, event, sender)

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
        return self.stream_hidden_by(run_stream(run_id))

    def stream_hidden_by(self, stream: str) -> str | None:
        """The projection that does not show what is sent to this stream, since it could not fold an earlier event."""
        parked = self._projections.parked_at(stream)
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

    async def search(self, names: Sequence[str], work: Callable[[asyncpg.Connection, Suffixes], Awaitable[T]]) -> T:
        """:meth:`read` for what may take long: it has connections of its own, so that other reads find theirs."""
        return await self.read(names, work, self._searchers)

    async def snapshot(self, name: str, read: Callable[[str, Select], Awaitable[T]]) -> T:
        """Run several queries of one projection on one snapshot, that sees everything as :meth:`read` does.

        ``read`` gets the ending of the projection's table names and what runs a query, and may be called again. It
        must not take long: an open snapshot makes every change of a hot row dearer. A few run at once, others wait.
        """

        async def work(connection: asyncpg.Connection, suffixes: Suffixes) -> T:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                return await read(suffixes[name], connection.fetch)

        async with self._snapshots:
            return await self.search((name,), work)

    async def read(
        self,
        names: Sequence[str],
        work: Callable[[asyncpg.Connection, Suffixes], Awaitable[T]],
        pool: Pool | None = None,
    ) -> T:
        """Read what sees everything that was acknowledged before this call; ``work`` reads one snapshot.

        It is given a connection and the endings of the table names of ``names``. While PostgreSQL restarts it is begun
        again: a client that only reads does not notice. Raises :class:`Unavailable` past the deadline, and 400 for a
        statement that takes longer than :data:`QUERY_S`.
        """

        async def attempt() -> T:
            # A little less than the whole time, so that it is said what was waited for.
            suffixes = await self._projections.wait_for(names, await self.head(), 0.9 * self._deadline_s)
            return await _on(pool or self._pool, lambda connection: work(connection, suffixes))

        return await self._retried("reading", attempt)

    def reading(self, doing: str) -> AbstractAsyncContextManager[asyncpg.Connection]:
        """Lend a connection for reads; ``doing`` begins the message of what goes wrong."""
        return self._pool.use(doing)

    async def _select(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        async def run(connection: asyncpg.Connection) -> list[asyncpg.Record]:
            rows: list[asyncpg.Record] = await connection.fetch(sql, *arguments)
            return rows

        return await _on(self._pool, run)

    async def _retried(self, doing: str, attempt: Callable[[], Awaitable[T]]) -> T:
        pause_s = 0.05
        why = "PostgreSQL did not answer"
        try:
            async with asyncio.timeout(self._deadline_s):
                while True:
                    try:
                        return await attempt()
                    except (Transient, asyncpg.UndefinedTableError) as error:
                        why = str(error)
                        # A version that was read may have been dropped a moment ago: look again at what is read.
                        await asyncio.sleep(pause_s)
                        pause_s = min(1.0, 2 * pause_s)
        except TimeoutError:
            raise Unavailable(f"{doing} was not possible within {self._deadline_s:g} s: {why}") from None

    async def wait_for(self, position: int, deadline_s: float) -> None:
        """Wait until the log has ``position`` and every projection holds it.

        Raises :class:`Unavailable` past the deadline, naming how far each is.
        """
        held = self.positions()
        if held.keys() >= PROJECTIONS.keys() and min(held.values()) >= position:
            return
        try:
            async with asyncio.timeout(deadline_s):
                while True:
                    if await self._reached(position, deadline_s):
                        return
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            reached = ", ".join(f"{name} {at}" for name, at in self.positions().items())
            message = f"position {position} was not reached within {deadline_s:g} s; the projections are at: {reached}"
            raise Unavailable(message) from None

    async def _reached(self, position: int, deadline_s: float) -> bool:
        try:
            if await self.head() < position:  # to hurry the projector would be in vain
                return False
            await self._projections.wait_for(tuple(PROJECTIONS), position, deadline_s)
        except Transient:
            return False
        return True

    def positions(self) -> dict[str, int]:
        """How far each projection is that this process holds; empty while that is in doubt."""
        return self._projections.positions()

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


def took_too_long() -> RequestError:
    """The 400 for a query that is over its time."""
    return invalid(f"The query took longer than {QUERY_S} s, its limit: ask for less at once.")


async def _on(pool: Pool, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
    """Work with a connection of a pool; what is wrong with the request is a 400."""
    try:
        async with pool.use("reading") as connection:
            try:
                return await work(connection)
            except asyncpg.QueryCanceledError as error:
                raise took_too_long() from error
    except asyncpg.DataError as error:
        raise invalid(f"The request holds a value that cannot be searched for: {error}.") from error
    except asyncpg.ProgramLimitExceededError as error:
        raise invalid(f"The answer is too large to be made at once: ask for less ({error}).") from error


def _looked_at(task: asyncio.Task[int]) -> None:
    """Its callers may have gone, their deadline past: asyncio would then print what it failed of."""
    if not task.cancelled():
        task.exception()
