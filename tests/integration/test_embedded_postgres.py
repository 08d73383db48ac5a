"""The embedded PostgreSQL: nothing committed is lost and nothing is left behind, whatever is killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from runstream_schemas.errors import StartupError
from runstream_services import embedded_postgres, postgres_output
from runstream_services.account import SYSTEM_USER, Account, postgres_account
from runstream_services.data_directory import (
    MARKER,
    SOCKET_NAME,
    DataDirectory,
    by_command_line,
    postgres_binaries,
    postgres_processes,
)
from runstream_services.embedded_postgres import MAJOR_VERSION, EmbeddedPostgres

NOBODY = Account("nobody", 65534, 65534)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="root runs PostgreSQL as another user")

Elsewhere = Callable[..., AbstractContextManager[subprocess.Popen[str]]]


@contextlib.asynccontextmanager
async def serving(root: Path, report: Callable[[str], None] = lambda line: None) -> AsyncIterator[EmbeddedPostgres]:
    directory = DataDirectory.open(root)
    server = EmbeddedPostgres(directory, report=report)
    try:
        await server.start()
        yield server
    finally:
        await server.stop()
        directory.close()


async def ask(server: EmbeddedPostgres, query: str) -> Any:
    connection = await asyncpg.connect(**server.connect_arguments)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def rows(server: EmbeddedPostgres) -> int:
    found = await ask(server, "select count(*) from kept")
    assert isinstance(found, int)
    return found


async def until(met: Callable[[], bool], what: str, limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while not met():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {limit_s} s: {what}")
        await asyncio.sleep(0.02)


def left_in(root: Path) -> list[int]:
    return postgres_processes(root / "postgres", postgres_account(root / "postgres"))


async def test_a_new_directory_gets_an_empty_utf8_database(place: Path) -> None:
    async with serving(place / "data") as server:
        assert await ask(server, "select current_database()") == "runstream"
        assert await ask(server, "show server_encoding") == "UTF8"
        assert await ask(server, "select lower('Ä') || ('Z' < 'a')::text") == "ätrue"
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            assert await ask(server, f"show {name}") == "on"
        assert await ask(server, "show listen_addresses") == ""
        assert by_command_line(place / "data" / "postgres") == [server.pid]
        connection = await asyncpg.connect(server.dsn)
        await connection.close()
    assert not list((place / "data").glob("postgres.new-*"))
    assert left_in(place / "data") == []


async def test_a_stop_and_a_start_keep_the_data_and_need_no_recovery(data: Path) -> None:
    async with serving(data) as server:
        assert await rows(server) == 1
        await server.restart()
        assert await rows(server) == 1
    assert "recovery" not in (data / "postgres.log").read_text()


async def test_the_settings_hold_whatever_files_and_environment_say(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    with (data / "postgres" / "postgresql.conf").open("a") as file:
        file.write("fsync = off\njit = on\nlisten_addresses = '*'\nport = 2\nwork_mem = '5MB'\n")
    async with serving(data) as server:
        assert [await ask(server, f"show {name}") for name in ("fsync", "jit", "listen_addresses")] == ["on", "off", ""]
        assert await ask(server, "show work_mem") == "5MB", "what is not given is theirs to set"


@pytest.mark.parametrize(
    "name", ["with space", "Ünï/ço∂é", "quote'\"comma,", "$HOME;%s\\x", "deep/" + "/".join(["directory"] * 14)]
)
async def test_any_path_will_do(place: Path, name: str) -> None:
    async with serving(place / name) as server:
        await ask(server, "create table kept as select 1 as value")
        socket = Path(server.connect_arguments["host"], SOCKET_NAME)
        assert os.stat(socket).st_mode == stat.S_IFSOCK | 0o700
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        if os.geteuid() == 0:
            probe = '[ -e "$1" ]'
            assert postgres_account(place / name / "postgres").ask(probe, [socket]).returncode == 0
            assert NOBODY.ask(probe, [socket]).returncode == 1, "no other user reaches the socket"
    with pytest.raises(FileNotFoundError):
        os.stat(socket)
    async with serving(place / name) as server:
        assert await rows(server) == 1


async def test_a_killed_postmaster_is_noticed_and_started_again(data: Path) -> None:
    told: list[str] = []
    async with serving(data, told.append) as server:
        supervision = asyncio.create_task(server.supervise())
        # A backend that computes does not notice that its postmaster is dead, and holds the shared memory.
        busy = await asyncpg.connect(**server.connect_arguments)
        count = "select count(*) from (select generate_series(1, 1000000000000)) as numbers"
        query = asyncio.create_task(busy.fetchval(count))
        computing = f"select count(*) from pg_stat_activity where state = 'active' and query = '{count}'"
        async with asyncio.timeout(60):
            while await ask(server, computing) == 0:
                pass
        killed = server.pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        await until(lambda: server.pid != killed, "a new postmaster")
        await asyncio.wait([query])
        assert query.exception() is not None
        await server.wait_ready()
        assert await rows(server) == 1
        assert killed not in left_in(data)
        assert any("ended with status -9" in line for line in told)
        await server.stop()
        await asyncio.wait_for(supervision, 30)


async def test_supervision_gives_up_when_it_does_not_help(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_postgres, "MAX_DEATHS", 3)
    async with serving(data) as server:
        (data / "postgres" / "global" / "pg_control").unlink()
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(StartupError, match=r"3 times in a row(.|\n)*pg_control"):
            await asyncio.wait_for(server.supervise(), 60)


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_killed_parent_takes_postgresql_along_and_loses_nothing(
    data: Path, elsewhere: Elsewhere, at_once: bool
) -> None:
    with elsewhere(data) as parent:
        assert parent.stdout is not None
        orphan = int(parent.stdout.readline().split()[1])
        assert orphan in left_in(data)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    if not at_once:
        await until(lambda: left_in(data) == [], "no orphan")
    async with serving(data) as server:
        assert await rows(server) == 2
        assert orphan not in left_in(data)
    assert left_in(data) == []


async def orphan_of(root: Path) -> int:
    """A postmaster of this directory that nobody has told to end; gives its pid."""
    account = postgres_account(root / "postgres")
    program = postgres_binaries(MAJOR_VERSION, account, root / "postgres-binaries") / "postgres"
    start = (
        'umask 077; "$1" -D "$2" -c listen_addresses= -c unix_socket_directories="$2" >"$2/orphan.log" 2>&1 & echo $!'
    )
    pid = int(account.ask(start, [program, root / "postgres"]).stdout)
    lock = root / "postgres" / "postmaster.pid"
    await until(lambda: lock.exists() and "ready" in lock.read_text(), "an orphan")
    return pid


@pytest.mark.parametrize("stuck", [False, pytest.param(True, marks=pytest.mark.long)])
async def test_an_orphan_is_ended_even_if_it_does_not_listen(
    data: Path, monkeypatch: pytest.MonkeyPatch, stuck: bool
) -> None:
    orphan = await orphan_of(data)
    if stuck:
        monkeypatch.setattr(embedded_postgres, "ORPHAN_GRACE_S", 0.2)
        monkeypatch.setattr(embedded_postgres, "VANISH_S", 0.5)
        os.kill(orphan, signal.SIGSTOP)
    told: list[str] = []
    async with serving(data, told.append) as server:
        assert await rows(server) == 1
        assert orphan not in left_in(data)
    assert any(f"process {orphan}" in line and "SIGINT" in line for line in told)
    assert any("SIGKILL" in line for line in told) == stuck


@pytest.mark.parametrize("content", ["{pid}\n{pgdata}\n0\n5432\n{pgdata}\n\n  1 1\nready\n", "", "x\n"])
async def test_a_stale_lock_file_does_not_stop_us(data: Path, content: str) -> None:
    pgdata = data / "postgres"
    account = postgres_account(pgdata)
    stranger = int(account.ask("sleep 600 >/dev/null 2>&1 & echo $!", []).stdout)
    try:
        for name in ("postmaster.pid", f"{SOCKET_NAME}.lock"):
            (pgdata / name).write_text(content.format(pid=stranger, pgdata=pgdata))
            os.chown(pgdata / name, account.uid, account.gid)
        async with serving(data) as server:
            assert await rows(server) == 1
        os.kill(stranger, 0)  # it lives
    finally:
        os.kill(stranger, signal.SIGKILL)


@pytest.mark.parametrize("reached", ["base", "global/pg_control", "base/5/PG_VERSION"])
async def test_a_kill_in_the_middle_of_initdb_is_healed_by_the_next_start(
    place: Path, elsewhere: Elsewhere, reached: str
) -> None:
    for attempt in range(10):
        root = place / str(attempt)
        with elsewhere(root, stderr=subprocess.DEVNULL) as parent:
            while not any(root.glob(f"postgres.new-*/{reached}")) and parent.poll() is None:
                pass
            parent.send_signal(signal.SIGKILL)
            parent.wait()
        if not (root / "postgres").exists():
            break
    assert not (root / "postgres").exists(), "never caught in time"
    assert list(root.glob("postgres.new-*"))
    async with serving(root) as server:
        assert await ask(server, "select current_database()") == "runstream"
    assert not list(root.glob("postgres.new-*"))


async def test_recovery_is_waited_for_and_told(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_postgres, "REPORT_AFTER_S", 0.0)
    told: list[str] = []
    async with serving(data, told.append) as server:
        await ask(server, "create table many as select n as value from generate_series(1, 1000000) n")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        assert await server.wait_died() == -signal.SIGKILL
        await server.restart()
        assert await ask(server, "select count(*) from many") == 1_000_000
    assert any("automatic recovery in progress" in line for line in told)


async def test_a_server_that_falls_silent_is_a_startup_error(data: Path) -> None:
    async with serving(data) as server:
        lock = data / "postgres" / "postmaster.pid"
        lock.write_text(lock.read_text().replace("ready   ", "starting"))
        with pytest.raises(StartupError, match="said nothing for 0 s"):
            await server.wait_ready(silence_s=0.3)


async def test_a_stop_ends_a_server_that_does_not_listen(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_postgres, "VANISH_S", 0.5)
    async with serving(data) as server:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        await server.stop(timeout_s=0.2)
        assert left_in(data) == []
    async with serving(data) as server:
        assert await rows(server) == 1


async def test_the_log_is_bounded(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_output, "LOG_LIMIT_BYTES", 50_000)
    log, before = data / "postgres.log", data / "postgres.log.1"
    async with serving(data) as server:
        supervision = asyncio.create_task(server.supervise())
        await ask(
            server, "do $$ begin for n in 1..1000 loop raise warning 'line % of many, many, many', n; end loop; end $$"
        )
        await until(before.exists, "the log is cut")
        await until(lambda: log.stat().st_size < 50_000, "the log is short")
        await ask(server, "do $$ begin raise warning 'after the cut'; end $$")
        await until(lambda: "after the cut" in log.read_text(), "the log goes on")
        assert "\0" not in log.read_text()
        assert stat.S_IMODE(before.stat().st_mode) == stat.S_IMODE(log.stat().st_mode) == 0o600
        supervision.cancel()


async def test_what_is_not_ours_to_start_is_refused(data: Path) -> None:
    version = data / "postgres" / "PG_VERSION"
    for written, shown in (b"17\n", "'17'"), (b"\xff\x00", "'\ufffd"), (b"", "''"):
        version.write_bytes(written)
        with pytest.raises(StartupError, match=f"made by PostgreSQL {shown}.*, and this release runs {MAJOR_VERSION}"):
            async with serving(data):
                pass
    version.unlink()
    with pytest.raises(StartupError, match="not a PostgreSQL database"):
        async with serving(data):
            pass
    assert (data / "postgres" / "base").exists(), "nothing was touched"


async def test_another_postgresql_is_neither_ended_nor_started(data: Path, place: Path) -> None:
    """It serves an application; its directory was taken for a data directory by mistake."""
    async with serving(data) as other:
        (data / "postgres" / MARKER).unlink()
        (place / "mistaken").mkdir()
        (place / "mistaken" / "lock").write_text("")
        (place / "mistaken" / "postgres").symlink_to(data / "postgres")
        with pytest.raises(StartupError, match="a database that Runstream did not make"):
            async with serving(place / "mistaken"):
                pass
        assert await ask(other, "select 1") == 1


def test_a_thread_that_may_end_before_the_process_is_refused(place: Path) -> None:
    async def start() -> None:
        with pytest.raises(StartupError, match="main thread"):
            async with serving(place / "data"):
                pass

    thread = threading.Thread(target=lambda: asyncio.run(start()))
    thread.start()
    thread.join()


@as_root
async def test_root_serves_a_directory_below_a_closed_one(place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    try:
        os.setxattr(closed, "system.posix_acl_access", b"\x02\0\0\0")  # an empty ACL is none
    except OSError as error:
        pytest.skip(f"no ACLs here: {error}")
    told: list[str] = []
    async with serving(closed / "data", told.append):
        assert (closed / "data" / "postgres").owner() == SYSTEM_USER
    assert f"{closed}: {SYSTEM_USER} may now pass through" in told[0]
    assert NOBODY.ask('[ -x "$1" ]', [closed]).returncode == 1


def reachable_python() -> tuple[str, dict[str, Any]] | None:
    """What runs our code as nobody: this interpreter, or the system's of the same version."""
    system = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path)), "PATH": os.environ["PATH"], "HOME": "/"}
    for program in (sys.executable, system):
        options: dict[str, Any] = {"user": NOBODY.uid, "group": NOBODY.gid, "extra_groups": [], "env": environment}
        with contextlib.suppress(OSError):
            probe = [program, "-c", "import asyncpg, runstream_services.embedded_postgres"]
            if subprocess.run(probe, **options, cwd="/", check=False, capture_output=True).returncode == 0:
                return program, options | {"cwd": "/"}
    return None


@as_root
async def test_a_normal_user_needs_no_other_account_and_root_may_go_on(place: Path, elsewhere: Elsewhere) -> None:
    reachable = reachable_python()
    if reachable is None:
        pytest.skip("no Python that another user can run and that has what we need")
    python, options = reachable
    os.chown(place, NOBODY.uid, NOBODY.gid)
    for ending in ("stop", "kill"):
        with elsewhere(place / "data", ending, by=(python,), **options) as parent:
            assert parent.stdout is not None
            assert parent.stdout.readline().startswith("ready")
            if ending == "stop":
                assert parent.wait() == 0
            else:
                parent.send_signal(signal.SIGKILL)
    assert (place / "data" / "postgres").stat().st_uid == NOBODY.uid
    async with serving(place / "data") as server:
        assert await rows(server) == 2
    assert (place / "data" / "postgres").stat().st_uid == NOBODY.uid


@as_root
async def test_root_of_a_container_that_may_not_trace_finds_orphans_too(data: Path, elsewhere: Elsewhere) -> None:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("no setpriv")
    orphan = await orphan_of(data)
    confined = (setpriv, "--bounding-set=-sys_ptrace", sys.executable)
    with elsewhere(data, "stop", by=confined) as process:
        assert process.wait() == 0
    assert orphan not in left_in(data)
    async with serving(data) as server:
        assert await rows(server) == 2
