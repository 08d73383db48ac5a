"""Data directories to break, and embedded servers in processes to kill."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

#: Starts PostgreSQL in the directory given, commits one more row in ``kept``, and stops or waits to be killed.
SERVE = """
import asyncio, sys
import asyncpg
from runstream_services.data_directory import DataDirectory
from runstream_services.embedded_postgres import EmbeddedPostgres

async def main():
    server = EmbeddedPostgres(DataDirectory.open(sys.argv[1]))
    await server.start()
    connection = await asyncpg.connect(**server.connect_arguments)
    await connection.execute("create table if not exists kept (value int)")
    await connection.execute("insert into kept values (1)")
    print("ready", server.pid, flush=True)
    if sys.argv[2:] == ["stop"]:
        await connection.close()
        await server.stop()
    else:
        await asyncio.sleep(3600)

asyncio.run(main())
"""

Elsewhere = Callable[..., AbstractContextManager[subprocess.Popen[str]]]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short path that every user can enter (pytest's own is neither)."""
    made = Path(tempfile.mkdtemp(prefix="runstream-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def template() -> Iterator[Path]:
    """A data directory that was stopped, with one row in table ``kept``."""
    with tempfile.TemporaryDirectory(prefix="runstream-") as made:
        subprocess.run([sys.executable, "-c", SERVE, Path(made, "data"), "stop"], check=True, capture_output=True)
        yield Path(made, "data")


@pytest.fixture
def data(place: Path, template: Path) -> Path:
    """A copy of the template, which is made faster than a new one."""
    subprocess.run(["cp", "-a", template, place / "data"], check=True)
    return place / "data"


@pytest.fixture
def elsewhere() -> Elsewhere:
    """Serve a directory in a process of its own: ``with elsewhere(data) as process``; its first line has the pid."""

    @contextlib.contextmanager
    def serve(
        data: Path, *arguments: str, by: tuple[str, ...] = (sys.executable,), **options: Any
    ) -> Iterator[subprocess.Popen[str]]:
        command = [*by, "-c", SERVE, str(data), *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options) as process:
            try:
                yield process
            finally:
                process.kill()

    return serve
