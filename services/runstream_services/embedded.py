"""``runstream up``: log writer, projector and gateway in one process, on an embedded or a given PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sized
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import msgspec
import structlog
import uvicorn

from runstream_projections.metric_blocks import METRIC_BLOCKS
from runstream_schemas.codec import encode_payload
from runstream_schemas.envelope import Envelope
from runstream_schemas.errors import CheckpointMoved, StartupError, Unavailable
from runstream_schemas.events import CURRENT_VERSION, ExperimentCreated
from runstream_schemas.ids import DEFAULT_EXPERIMENT_EVENT, EXPERIMENTS, uuid7
from runstream_schemas.status import Process
from runstream_services.adapters import postgres_projections
from runstream_services.adapters.in_process_bus import InProcessBus
from runstream_services.adapters.postgres import Database, Line, Pool
from runstream_services.data_directory import DataDirectory
from runstream_services.databases import PATIENCE_S, database_of, prepare
from runstream_services.gateway.access import Access, access_of
from runstream_services.gateway.app import build
from runstream_services.gateway.one_write import OneWriteProtocol
from runstream_services.gateway.service import READER_SETTINGS, SEARCHER_SETTINGS, Gateway
from runstream_services.log_tail import LogTail
from runstream_services.log_writer.service import LogWriter
from runstream_services.observe import LOOK_S, Rates
from runstream_services.projector.compactor import Compactor
from runstream_services.projector.decider import Decider
from runstream_services.projector.service import Projector
from runstream_services.settings import Settings

log = structlog.get_logger()

#: Connections for reads; a read takes one for as long as its one query runs. Searches have connections of their own.
READERS: Final = 6
SEARCHERS: Final = 4

#: Connections that wait to be accepted.
BACKLOG: Final = 1024

#: A stop takes at most five seconds: open requests get so long to finish, then what was accepted to be written and
#: folded, then PostgreSQL the rest to end. The first two take their time only where PostgreSQL does not answer.
STOP_S: Final = 4.0
REQUESTS_S: Final = 2
SERVICES_S: Final = 1.0

#: How long the thread that compacts may keep the interpreter from the event loop (Python's default is 5 ms).
SWITCH_S: Final = 0.0005

#: Clients pool their connections; one that is closed under them costs them a failed call and a retry.
KEEP_ALIVE_S: Final = 75


Task = asyncio.Task[None]


def now_ms() -> int:
    """Milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


def now_us() -> int:
    """Microseconds since the Unix epoch."""
    return time.time_ns() // 1_000


class _Http(uvicorn.Server):
    """uvicorn without its own signal handlers: this process stops more than its HTTP server."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield


class Node:
    """Everything of one process between its database and its HTTP application."""

    def __init__(self, database: Database, *, alone: bool) -> None:
        boot = uuid7(now_ms(), os.urandom(10))
        self.owner = str(boot)
        self.bus = InProcessBus(str(boot))
        self.tail = LogTail()
        self._lines = [Line(database), *(Line(database, durable=False) for _ in range(4))]
        append, decide, fold, compact, self._leases = self._lines
        self.decider = Decider(decide, self.owner, by_force=alone)
        self.writer = LogWriter(self.bus, append, self.decider, self.tail, now_us)
        self.compactor = Compactor(
            compact, self.owner, lambda: self.projector.standing(METRIC_BLOCKS.name), time.monotonic
        )
        self.projector = Projector(fold, self.tail, self.owner, by_force=alone, on_tail_row=self.compactor.added)
        self.pool = Pool(database, READERS, on_open=self.projector.confirm, settings=READER_SETTINGS)
        self.searchers = Pool(database, SEARCHERS, on_open=self.projector.confirm, settings=SEARCHER_SETTINGS)
        self.gateway = Gateway(
            self.bus,
            self.pool,
            self.decider,
            self.projector,
            now_ms,
            os.urandom,
            searchers=self.searchers,
            process=self.process,
        )
        #: Those of clients, once there is an HTTP server.
        self.connections: Sized = ()
        self._rates = Rates()
        self._began_s = time.monotonic()

    def process(self) -> Process:
        """What this process has done and has in hand."""
        writer, projector, gateway = self.writer, self.projector, self.gateway
        events_per_s, points_per_s = self._rates.per_second()
        return Process(
            uptime_s=time.monotonic() - self._began_s,
            events_per_s=events_per_s,
            points_per_s=points_per_s,
            connections=len(self.connections),
            queued_events=len(self.bus),
            queued_bytes=self.bus.queued_bytes,
            appended_events=writer.appended,
            appended_points=writer.appended_points,
            appends=writer.appends,
            append_s=writer.append_s,
            rejected=writer.rejected,
            dead_lettered=writer.dead_lettered,
            folded_events=projector.folded,
            folds=projector.folds,
            fold_s=projector.fold_s,
            truncated_values=gateway.truncated,
            requests={f"{hundreds}xx": count for hundreds, count in enumerate(gateway.answers) if hundreds > 1},
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the services; on leaving, write what was accepted and give up the leases."""
        await self._own_the_decisions()
        async with asyncio.TaskGroup() as tasks:
            leases = tasks.create_task(self._keep_leases())
            rates = tasks.create_task(self._keep_rates())
            writer = tasks.create_task(self.writer.run())
            projector = tasks.create_task(self.projector.run())
            compactor = tasks.create_task(self.compactor.run())
            try:
                await self._ensure_default_experiment()
                yield
            finally:
                leases.cancel()
                rates.cancel()
                await self._drain(writer, projector, compactor)
        with contextlib.suppress(Exception):  # a lease that is not given up runs out by itself
            async with asyncio.timeout(SERVICES_S / 4), self._leases.use("giving up the leases") as connection:
                await postgres_projections.release(connection, self.owner)
        await self.pool.close()
        await self.searchers.close()
        for line in self._lines:
            await line.close()

    async def _drain(self, writer: Task, projector: Task, compactor: Task) -> None:
        """Let the services finish what is in hand; what PostgreSQL does not take in time was not acknowledged."""
        self.bus.close()
        began = time.monotonic()
        await asyncio.wait({writer}, timeout=SERVICES_S)
        self.projector.stop()
        self.compactor.stop()
        left_s = began + SERVICES_S - time.monotonic()
        _, late = await asyncio.wait({writer, projector, compactor}, timeout=max(0.0, left_s))
        if late:
            log.warning("PostgreSQL does not answer: the server ends without it", requests_given_up=len(self.bus))
        for task in late:
            task.cancel()

    async def _own_the_decisions(self) -> None:
        """A server that was killed left its lease behind; one that lives keeps it, and this one cannot start."""
        deadline = time.monotonic() + 1.5 * postgres_projections.LEASE_S
        while True:
            try:
                await self.decider.reset()
                return
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
            except CheckpointMoved as error:
                if time.monotonic() > deadline:
                    message = "another Runstream server works on this database: stop it, or use its address"
                    raise StartupError(message) from error
            await asyncio.sleep(0.2)

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(postgres_projections.LEASE_S / 3)
            try:
                async with self._leases.use("renewing the leases") as connection:
                    await postgres_projections.renew(connection, self.owner)
            except Exception as error:
                log.warning("the leases were not renewed", reason=str(error))

    async def _keep_rates(self) -> None:
        while True:
            self._rates.look(time.monotonic(), self.writer.appended, self.writer.appended_points)
            await asyncio.sleep(LOOK_S)

    async def _ensure_default_experiment(self) -> None:
        """MLflow's clients expect experiment "0", named Default; its event's id makes a second one a duplicate."""
        event = ExperimentCreated(name="Default", created_at=now_ms())
        envelope = Envelope(
            id=DEFAULT_EXPERIMENT_EVENT,
            type="ExperimentCreated",
            version=CURRENT_VERSION,
            stream=EXPERIMENTS,
            sent_at=event.created_at,
            payload=msgspec.Raw(encode_payload(event)),
        )
        await self.bus.emit(envelope, event, deadline_s=60)


def listen(host: str, port: int) -> socket.socket:
    """Bind before anything else is started, so that a port in use is said at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        message = f"cannot listen on {host}:{port}: {error.strerror}. Choose another port with --port or RUNSTREAM_PORT"
        raise StartupError(message) from error
    return listener


def _allow_many_files() -> None:
    """Take as many open files as are allowed: a shell's usual 1,024 are fewer than the clients of one large job."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _listener(settings: Settings) -> socket.socket:
    try:
        return listen(settings.host, settings.port)
    except StartupError:
        # Started twice with the same settings: that the directory is being served says more than that a port is taken.
        if settings.database_url is None and settings.data.is_dir():
            DataDirectory.open(settings.data).close()
        raise


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # all addresses: here by this one
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class _Stop:
    """``told`` is set by a signal; ``due`` also where this process has to stop because PostgreSQL is lost for good."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._told_at = 0.0
        self.told = asyncio.Event()
        self.due = asyncio.Event()
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(signum) != signal.SIG_IGN:  # nohup
                self._loop.add_signal_handler(signum, self._tell)

    def _tell(self) -> None:
        self._told_at = self._told_at or self._loop.time()
        self.told.set()
        self.due.set()

    def left_s(self) -> float:
        """What is left of the time that a stop may take."""
        return STOP_S - (self._loop.time() - self._told_at) if self._told_at else STOP_S


async def up(settings: Settings, ready: Callable[[str], None], report: Callable[[str], None]) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP; ``ready`` is called with the address once requests are answered."""
    _allow_many_files()
    stop = _Stop()
    started = asyncio.Event()

    def say_ready(address: str) -> None:
        started.set()
        ready(address)

    serving = asyncio.create_task(_start_and_serve(settings, stop, say_ready, report))
    told = asyncio.create_task(stop.told.wait())
    await asyncio.wait({serving, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not started.is_set() and not serving.done():
        serving.cancel()  # a start may take minutes: PostgreSQL recovers, or another server has the lease
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        return
    await serving


async def _start_and_serve(
    settings: Settings, stop: _Stop, ready: Callable[[str], None], report: Callable[[str], None]
) -> None:
    access = access_of(settings)
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(contextlib.closing(_listener(settings)))
        address = _address(listener)
        database, alone = await stack.enter_async_context(
            database_of(settings, report, stop.due.set, stop.left_s, address)
        )
        await prepare(database, patience_s=PATIENCE_S if alone else 0.0)
        node = Node(database, alone=alone)
        await stack.enter_async_context(node.running())
        await _serve(node, access, listener, stop.due, lambda: ready(address))


async def _serve(
    node: Node, access: Access, listener: socket.socket, stop: asyncio.Event, ready: Callable[[], None]
) -> None:
    config = uvicorn.Config(
        build(node.gateway, access),
        http=OneWriteProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=REQUESTS_S,
    )
    http = _Http(config)
    node.connections = http.server_state.connections
    serving = asyncio.create_task(http.serve(sockets=[listener]))
    # What lives from here on lives for ever: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    sys.setswitchinterval(SWITCH_S)
    listener.listen(BACKLOG)  # uvicorn does so a moment later, and whoever reads that it is ready may be quicker
    ready()
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    http.should_exit = True
    await serving


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on uvloop."""
    import uvloop  # noqa: PLC0415 -- not on every platform

    uvloop.run(main)
