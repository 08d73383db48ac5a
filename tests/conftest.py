"""Real servers for tests: one PostgreSQL a session, a fresh database a test, servers in processes of their own."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from runstream_services.adapters.postgres import Database
from runstream_services.data_directory import DataDirectory
from runstream_services.databases import prepare
from runstream_services.embedded_postgres import EmbeddedPostgres
from tests.server import Server


def pytest_configure() -> None:
    """Servers leave ignored what is ignored, as below nohup or in a script; tests stop them by signals."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("RUNSTREAM_", "MLFLOW_", "PG"))]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
async def postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedPostgres]:
    """The embedded PostgreSQL, with a migrated template database."""
    directory = DataDirectory.open(tmp_path_factory.mktemp("postgres"))
    server = EmbeddedPostgres(directory)
    await server.start()
    connection = await asyncpg.connect(**server.connect_arguments)
    await connection.execute("create database template_runstream")
    await prepare(Database({**server.connect_arguments, "database": "template_runstream"}))
    await connection.close()
    yield server
    await server.stop()
    directory.close()


@pytest.fixture
async def database(postgres: EmbeddedPostgres) -> AsyncIterator[Database]:
    """A database of the test's own, migrated and empty."""
    name = f"test_{uuid4().hex}"
    connection = await asyncpg.connect(**postgres.connect_arguments)
    await connection.execute(f"create database {name} template template_runstream")
    yield Database({**postgres.connect_arguments, "database": name})
    await connection.execute(f"drop database {name} with (force)")
    await connection.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """``runstream up`` on a data directory of the test's own, in a process of its own."""
    with Server(tmp_path / "data") as running:
        yield running
