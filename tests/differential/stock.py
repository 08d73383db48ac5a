"""A stock MLflow server on PostgreSQL, in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

START_S: Final = 120.0


@contextmanager
def stock_server(database_url: str, directory: Path) -> Iterator[str]:
    """Start ``mlflow server`` on an empty database; gives its address. One worker: that answers like its usual four."""
    port = _free_port()
    command = [
        str(Path(sys.executable).parent / "mlflow"), "server", "--backend-store-uri", database_url,
        "--default-artifact-root", "mlflow-artifacts:/", "--artifacts-destination", str(directory / "artifacts"),
        "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PG"))}
    environment |= {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "HOME": str(directory),
    }
    output = directory / "mlflow.log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            command, cwd=directory, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for_answer(url, process, output)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the database is dropped with all that it holds
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for_answer(url: str, process: subprocess.Popen[bytes], output: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            found = httpx.get(f"{url}/api/2.0/mlflow/experiments/get?experiment_id=0", timeout=5)
            if found.status_code == 200:
                return
        except httpx.TransportError:
            pass
        said = output.read_text(errors="replace")[-3000:]
        assert process.poll() is None, f"mlflow server ended with {process.returncode}: {said}"
        assert time.monotonic() < deadline, f"mlflow server does not answer after {START_S} s: {said}"
        time.sleep(0.05)
