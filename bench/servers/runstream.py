"""Runstream in embedded mode: one process and its own PostgreSQL."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from bench.postgres import Database, find_database, largest_database
from bench.processes import child, free_port
from bench.servers.events import send
from bench.servers.running import Running, Server, wait_for_answer


def runstream(socket_dir: Path | None = None) -> Server:
    """Runstream of the environment that runs the bench.

    Its PostgreSQL is found by the ``postmaster.pid`` under its data directory, or is asked for at ``socket_dir``.
    """

    @contextmanager
    def start(folder: Path) -> Iterator[Running]:
        port, log, data = free_port(), folder / "runstream.log", folder / "data"
        command = [str(Path(sys.executable).parent / "runstream"), "up", "--data", str(data), "--port", str(port)]
        started = time.monotonic()
        with child(command, log=log, extra={}, cwd=folder) as process:
            start_s = wait_for_answer(port, process, started, log)
            yield Running(port, process, start_s, lambda: _database(data, socket_dir))

    steps = {10: 1000, 500: 100, 1000: 100}
    return Server("runstream", "Runstream", version("runstream"), start, send, native=True, disk_steps=steps)


def _database(data: Path, socket_dir: Path | None) -> Database:
    return find_database(data) if socket_dir is None else largest_database(socket_dir)
