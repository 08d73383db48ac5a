"""``runstream up`` in a process of its own, as a user starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.command import RUNSTREAM

READY_S = 60.0


class Server:
    """Started on entry and stopped on exit; may be killed and started again in between, always on the same port."""

    def __init__(self, data: Path, *arguments: str) -> None:
        self.data = data
        self.url = ""
        self._arguments = arguments
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.output = data.parent / f"{data.name}.log"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def postmaster_pid(self) -> int:
        """The pid of the embedded PostgreSQL's postmaster."""
        return int((self.data / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0])

    def start(self) -> None:
        """Start and wait for the line that says it is ready."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start without waiting."""
        command = [RUNSTREAM, "up", "--data", str(self.data)]
        with self.output.open("ab") as output:
            self._from = output.tell()
            self._process = subprocess.Popen(
                [*command, "--port", str(self._port), *self._arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Wait for the line that names the address."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            said = self.said()
            found = re.search(r"http://127\.0\.0\.1:(\d+)", said)
            if found:
                self.url, self._port = found[0], int(found[1])
                return
            assert self._process is not None
            assert self._process.poll() is None, f"runstream up ended with {self._process.returncode}: {said}"
            time.sleep(0.02)
        raise AssertionError(f"runstream up is not ready after {timeout_s} s: {self.said()}")

    def said(self) -> str:
        """What it has printed since it was last started."""
        with self.output.open("rb") as output:
            output.seek(self._from)
            return output.read().decode(errors="replace")

    def kill(self) -> None:
        """kill -9 of the process itself."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self, signum: int = signal.SIGTERM, timeout_s: float = 20.0) -> int:
        """Ask it to stop; returns its exit status."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signum)
        status = self._process.wait(timeout_s)
        self._process = None
        return status

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        """POST JSON to a path below /api/2.0/mlflow."""
        return httpx.post(f"{self.url}/api/2.0/mlflow/{path}", json=body, timeout=60, **options)

    def get(self, path: str, **query: Any) -> httpx.Response:
        """GET a path below /api/2.0/mlflow."""
        return httpx.get(f"{self.url}/api/2.0/mlflow/{path}", params=query, timeout=60)
