"""The part of MLflow's REST API that sets a row up and reads back what it wrote."""

from __future__ import annotations

import http.client
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import orjson

from bench.rows import HISTORY_PAGE
from bench.servers.running import HOST
from bench.trouble import BenchError

PREFIX: Final = "/api/2.0/mlflow"
#: Where Runstream has what MLflow has not.
NATIVE: Final = "/api/runstream/v1"
LOG_BATCH: Final = f"{PREFIX}/runs/log-batch"
CREATE_RUN: Final = f"{PREFIX}/runs/create"

#: The most that metrics/get-history-bulk gives in one answer (MLflow 3.17); an answer of that size may be cut.
BULK_LIMIT: Final = 25_000

#: Connections of a read-back.
READERS: Final = 8

#: A connection idle for longer is opened anew: uvicorn closes them after 5 s.
IDLE_S: Final = 2.0

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Points:
    """The stored points of one key of one run, in the order of the answer."""

    steps: list[int]
    timestamps: list[int]
    values: list[float]


def points(metrics: Iterable[dict[str, Any]]) -> Points:
    """The ``metrics`` of an answer as columns."""
    rows = list(metrics)
    return Points(
        [int(row.get("step", 0)) for row in rows],
        [int(row["timestamp"]) for row in rows],
        [float(row["value"]) for row in rows],
    )


class Api:
    """Calls to one server; one connection a thread."""

    def __init__(self, port: int, *, runs_page: int = 1000) -> None:
        self._port = port
        self._runs_page = runs_page
        self._local = threading.local()

    def get(self, path: str, **query: str | int | list[str]) -> bytes:
        """The body of a GET that was answered with 200."""
        return self._call("GET", f"{path}?{urlencode(query, doseq=True)}", None)

    def post(self, path: str, body: bytes) -> Any:
        """The decoded body of a POST that was answered with 200."""
        return orjson.loads(self._call("POST", path, body))

    def create_experiment(self, name: str) -> str:
        """The id of a new experiment."""
        return str(self.post(f"{PREFIX}/experiments/create", orjson.dumps({"name": name}))["experiment_id"])

    def create_run(self, experiment_id: str) -> str:
        """The id of a new run."""
        made = self.post(CREATE_RUN, orjson.dumps({"experiment_id": experiment_id, "start_time": 1_700_000_000_000}))
        return str(made["run"]["info"]["run_id"])

    def history(self, run_id: str, key: str) -> Points:
        """All points of a key, asked for in pages as the Python client does."""
        found: list[dict[str, Any]] = []
        token = ""
        while True:
            query: dict[str, str | int | list[str]] = {
                "run_id": run_id, "metric_key": key, "max_results": HISTORY_PAGE,
            }  # fmt: skip
            if token:
                query["page_token"] = token
            page = orjson.loads(self.get(f"{PREFIX}/metrics/get-history", **query))
            found += page.get("metrics", ())
            token = page.get("next_page_token", "")
            if not token:
                return points(found)

    def histories(self, run_ids: list[str], key: str) -> dict[str, Points]:
        """All points of a key in several runs by one call where its limit allows it, else by one call a run."""
        answer = orjson.loads(
            self.get(
                "/ajax-api/2.0/mlflow/metrics/get-history-bulk",
                run_id=run_ids, metric_key=key, max_results=BULK_LIMIT,
            )
        )["metrics"]  # fmt: skip
        if len(answer) >= BULK_LIMIT:
            return {run_id: self.history(run_id, key) for run_id in run_ids}
        by_run: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in answer:
            by_run[row["run_id"]].append(row)
        return {run_id: points(by_run[run_id]) for run_id in run_ids}

    def params(self, run_id: str) -> dict[str, str]:
        """The params of a run."""
        data = orjson.loads(self.get(f"{PREFIX}/runs/get", run_id=run_id))["run"]["data"]
        return {param["key"]: param["value"] for param in data.get("params", ())}

    def run_ids(self, experiment_id: str) -> list[str]:
        """The ids of all runs of an experiment, by pages of runs/search."""
        found: list[str] = []
        body: dict[str, object] = {"experiment_ids": [experiment_id], "max_results": self._runs_page}
        while True:
            page = self.post(f"{PREFIX}/runs/search", orjson.dumps(body))
            found += [run["info"]["run_id"] for run in page.get("runs", ())]
            if not page.get("next_page_token"):
                return found
            body["page_token"] = page["next_page_token"]

    def _call(self, method: str, path: str, body: bytes | None) -> bytes:
        connection = self._connection()
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise BenchError(f"{method} {path[:120]}: {error!r}") from error
        self._local.used = time.monotonic()
        if answer.status != 200:
            raise BenchError(f"{method} {path[:120]}: {answer.status} {content[:300].decode(errors='replace')}")
        return content

    def _connection(self) -> http.client.HTTPConnection:
        """This thread's connection; closed first when it was idle so long that the server may be closing it."""
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = http.client.HTTPConnection(HOST, self._port, timeout=120)
        elif time.monotonic() - self._local.used > IDLE_S:
            connection.close()
        return connection


def in_parallel(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """``work`` of each item, several at a time, in order."""
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(work, items))
