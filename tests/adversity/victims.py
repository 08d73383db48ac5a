"""What can be killed or stalled of a server on an embedded PostgreSQL, and how the server is brought back."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import psutil  # type: ignore[import-untyped]

from runstream_services.account import postgres_account
from runstream_services.data_directory import postgres_processes, socket_directory
from tests.server import Server

RECOVERY_S: Final = 90.0

#: Below the ports that outgoing connections get: a client that retries on a closed one of those connects to itself.
_PORTS: Final = range(20_000, 32_000)


def quiet_port() -> int:
    """A free port that no outgoing connection takes while the server is down."""
    while True:
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def until(met: Callable[[], bool], what: str, limit_s: float = 30.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + limit_s
    while not met():
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        time.sleep(0.02)


class Victim(Server):
    """``runstream up`` with its PostgreSQL, to be killed from outside and started again on the same port."""

    def __init__(self, data: Path, port: str | None = None) -> None:
        self.port = port or str(quiet_port())
        super().__init__(data, "--port", self.port)
        self.interrupted_starts = 0

    @property
    def pgdata(self) -> Path:
        """PostgreSQL's directory."""
        return self.data / "postgres"

    @property
    def connect_arguments(self) -> dict[str, Any]:
        """What asyncpg needs to look into the database while the server runs."""
        where = socket_directory(self.pgdata, postgres_account(self.pgdata))
        return {"host": str(where), "port": 5432, "user": "postgres", "database": "runstream"}

    def new_run(self) -> str:
        """Create a run and return its id."""
        run_id: str = self.post("runs/create", {"experiment_id": "0"}).json()["run"]["info"]["run_id"]
        return run_id

    def status(self) -> int | None:
        """Its exit status, None while it lives."""
        return None if self._process is None else self._process.poll()

    def wait_ended(self, timeout_s: float) -> int:
        """Its exit status, once it ended by itself."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def postmaster(self) -> psutil.Process | None:
        """The postmaster, also while it only starts and where its server was killed."""
        with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
            return psutil.Process(self.postmaster_pid)
        if self._process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(self.pid).children():
                    if "-D" in child.cmdline():  # and not a shell that looks who is there
                        return child
        return None

    def backends(self) -> list[psutil.Process]:
        """The postmaster's children: what serves connections, writes the log, and so on."""
        postmaster = self.postmaster()
        if postmaster is None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            return list(postmaster.children())
        return []

    def postgres(self) -> list[int]:
        """Every process of PostgreSQL, orphans too."""
        pids = set(postgres_processes(self.pgdata, postgres_account(self.pgdata)))
        postmaster = self.postmaster()
        return sorted(pids | ({postmaster.pid} if postmaster else set()))

    def connections(self) -> int:
        """Connections of clients to it."""
        found = psutil.Process(self.pid).net_connections("tcp")
        return sum(one.status == psutil.CONN_ESTABLISHED for one in found)

    def strike(self, victim: str, dice: random.Random) -> str:
        """kill -9 of ``victim``: server, postmaster, backend (one of them), everything; says what it was.

        Where there is no such process at the moment it is the one that would have started it.
        """
        if victim == "backend":
            if backends := self.backends():
                chosen = dice.choice(sorted(backends, key=lambda process: process.pid))
                with contextlib.suppress(psutil.NoSuchProcess):
                    words = chosen.cmdline()
                    _kill(chosen.pid)
                    return (
                        words[0].strip()
                        if words[0].startswith("postgres:")
                        else "a process that PostgreSQL just started"
                    )
            victim = "postmaster"
        if victim == "postmaster":
            postmaster = self.postmaster()
            if postmaster is not None:
                _kill(postmaster.pid)
                return "postmaster"
            victim = "server"
        if victim == "everything":
            pids = self.postgres()
            dice.shuffle(pids)
            place = dice.randint(0, len(pids))
            for pid in pids[:place]:
                _kill(pid)
            self.kill()
            for pid in pids[place:]:
                _kill(pid)
            return f"everything ({len(pids) + 1} processes)"
        self.kill()
        return "server"

    def bring_back(self) -> None:
        """Start it again if it was killed.

        A server that PostgreSQL was taken from before it was ready may give up, with status 1 and a sentence.
        """
        if self.status() is not None:
            self.launch()

    def recover(self, run_id: str) -> None:
        """Wait until a write is acknowledged again."""
        deadline = time.monotonic() + RECOVERY_S
        while time.monotonic() < deadline:
            status = self.status()
            if status is not None:
                said = self.said()
                assert status == 1, f"it ended with {status}: {said}"
                assert "Runstream is ready" not in said, f"it was ready and ended: {said}"
                assert "Traceback" not in said, said
                self.interrupted_starts += 1
                self.launch()
            with contextlib.suppress(httpx.TransportError):
                body = {"run_id": run_id, "key": "probe", "value": "there"}
                if httpx.post(f"{self.url}/api/2.0/mlflow/runs/set-tag", json=body, timeout=20).status_code == 200:
                    return
            time.sleep(0.02)
        raise AssertionError(f"no write was acknowledged for {RECOVERY_S} s: {self.said()}")

    @contextlib.contextmanager
    def stalled(self, pids: list[int]) -> Iterator[None]:
        """SIGSTOP of processes for as long as the block runs."""
        for pid in pids:
            _send(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                _send(pid, signal.SIGCONT)


def _kill(pid: int) -> None:
    _send(pid, signal.SIGKILL)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
