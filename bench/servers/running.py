"""What every server looks like to the bench."""

from __future__ import annotations

import http.client
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.population import Population
from bench.postgres import Database
from bench.processes import wait_until

HOST: Final = "127.0.0.1"

#: How long a server may take to its first answer.
START_S: Final = 120


@dataclass(frozen=True)
class Running:
    """A server that answers. ``start_s`` is the time from its command to the first answer about experiment 0."""

    port: int
    process: subprocess.Popen[bytes]
    start_s: float
    database: Callable[[], Database]

    @property
    def url(self) -> str:
        """Where its API starts."""
        return f"http://{HOST}:{self.port}"


@dataclass(frozen=True)
class Server:
    """How to start one of the servers; ``start(folder)`` makes everything it needs new in ``folder``."""

    name: str
    title: str
    version: str
    start: Callable[[Path], AbstractContextManager[Running]]
    #: puts the runs of a population into an experiment, in the quickest way that leaves what calls would leave
    populate: Callable[[Running, str, Population], None]
    #: it has Runstream's own API beside MLflow's
    native: bool = False
    #: one call of metrics/get-history-bulk gives a key's history in up to 100 runs
    bulk_history: bool = False
    #: runs that one page of runs/search is asked for
    runs_page: int = 1000
    #: steps for each of 100 runs in the disk rows, by points of an event
    disk_steps: dict[int, int] = field(default_factory=dict)


def answers(port: int) -> bool:
    """Whether the API gives experiment 0, which every MLflow server has."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def wait_for_answer(port: int, process: subprocess.Popen[bytes], started: float, log: Path) -> float:
    """Seconds from ``started`` (monotonic) to the first answer."""
    wait_until(lambda: answers(port), seconds=START_S, process=process, what="the first answer", log=log)
    return time.monotonic() - started
