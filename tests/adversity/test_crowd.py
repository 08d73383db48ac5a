"""More clients than the process may open files: PostgreSQL is reached all the same."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.adversity.victims import Victim, until
from tests.command import RUNSTREAM

FILES = 160


@pytest.mark.timeout(120)
def test_clients_that_take_all_files_do_not_keep_the_server_from_postgresql(place: Path) -> None:
    victim = Victim(place / "data")
    up = f"ulimit -n {FILES}; exec {RUNSTREAM} up --data {victim.data} --port {victim.port}"
    with subprocess.Popen(["/bin/sh", "-c", up], stdout=subprocess.PIPE) as process, contextlib.ExitStack() as crowd:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(b"Runstream is ready")
            url = f"http://127.0.0.1:{victim.port}/api/2.0/mlflow"
            client = crowd.enter_context(httpx.Client(base_url=url, timeout=30))
            run_id = client.post("/runs/create", json={}).json()["run"]["info"]["run_id"]
            for _ in range(2 * FILES):
                crowd.enter_context(socket.create_connection(("127.0.0.1", int(victim.port)), timeout=10))
            until(lambda: open_files(process.pid) <= FILES - 10, "files are left")
            victim.strike("backend", random.Random(1))  # and PostgreSQL ends the connections of all others

            def answers() -> bool:
                written = client.post("/runs/set-tag", json={"run_id": run_id, "key": "a", "value": "b"})
                read = client.get("/runs/get", params={"run_id": run_id})
                return (written.status_code, read.status_code) == (200, 200)

            until(answers, "writes and reads are answered again", 60)
        finally:
            process.terminate()
        assert process.wait(20) == 0


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))
