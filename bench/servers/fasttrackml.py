"""FastTrackML: one Go process that speaks MLflow's API."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.population import Population
from bench.postgres import create_database, postgres
from bench.processes import child, free_port
from bench.servers.rows import fill
from bench.servers.running import Running, Server, wait_for_answer
from bench.servers.venv import version


def fasttrackml(venv: Path) -> Server:
    """FastTrackML as installed in ``venv``."""

    @contextmanager
    def start(folder: Path) -> Iterator[Running]:
        with postgres(folder / "postgres") as socket_dir:
            database = create_database(socket_dir, "fml")
            port, log = free_port(), folder / "fasttrackml.log"
            command = [
                str(venv / "bin" / "fml"), "server", "-d", database.url("postgres"), "-a", f"localhost:{port}",
                "--default-artifact-root", str(folder / "artifacts"),
            ]  # fmt: skip
            started = time.monotonic()
            with child(command, log=log, extra={}, cwd=folder) as process:
                start_s = wait_for_answer(port, process, started, log)
                yield Running(port, process, start_s, lambda: database)

    return Server(
        "fasttrackml",
        "FastTrackML",
        version(venv, "fasttrackml"),
        start,
        _populate,
        # Its page tokens lack their last byte from offset 10,000 on, so that it refuses them: all runs in one page.
        runs_page=50_000,
        disk_steps={10: 40, 500: 4, 1000: 4},
    )


def _populate(running: Running, experiment_id: str, population: Population) -> None:
    """Metrics belong to a context, here the empty one, and are counted in each run; runs are numbered."""
    database = running.database()
    database.query("insert into contexts (json) values ('{}') on conflict do nothing")
    context = database.query("select id from contexts where json = '{}'")
    next_row = database.query("select coalesce(max(row_num) + 1, 0) from runs")
    fill(
        database,
        experiment_id,
        population,
        run={"row_num": f"{next_row} + number"},
        metric={"iter": "1", "context_id": context},
        latest={"last_iter": "1", "context_id": context},
    )
