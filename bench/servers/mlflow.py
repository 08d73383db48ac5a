"""The stock MLflow server: four uvicorn workers, PostgreSQL as its store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.population import Population
from bench.postgres import create_database, postgres
from bench.processes import child, free_port
from bench.servers.rows import fill
from bench.servers.running import HOST, Running, Server, wait_for_answer
from bench.servers.venv import version


def mlflow(venv: Path) -> Server:
    """MLflow as installed in ``venv``."""

    @contextmanager
    def start(folder: Path) -> Iterator[Running]:
        with postgres(folder / "postgres") as socket_dir:
            database = create_database(socket_dir, "mlflow")
            port, log = free_port(), folder / "mlflow.log"
            command = [
                str(venv / "bin" / "mlflow"), "server", "--backend-store-uri", database.url(),
                "--default-artifact-root", str(folder / "artifacts"), "--host", HOST, "--port", str(port),
            ]  # fmt: skip
            extra = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
            started = time.monotonic()
            with child(command, log=log, extra=extra, cwd=folder) as process:
                start_s = wait_for_answer(port, process, started, log)
                yield Running(port, process, start_s, lambda: database)

    return Server(
        "mlflow",
        "MLflow",
        version(venv, "mlflow"),
        start,
        _populate,
        bulk_history=True,
        disk_steps={10: 40, 500: 4, 1000: 4},
    )


def _populate(running: Running, experiment_id: str, population: Population) -> None:
    fill(running.database(), experiment_id, population, run={}, metric={}, latest={}, tag="mlflow.runName")
