"""Fills a population into Runstream by its own API: the events that a client's calls would be."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from uuid import UUID

import orjson

from bench.api import NATIVE
from bench.population import STEP, Population
from bench.servers.running import HOST, Running
from bench.trouble import BenchError

PATH: Final = f"{NATIVE}/events"
#: Runs of a call, each of them three events; a call may have 2,000.
RUNS: Final = 250
#: Calls under way at a time.
CALLS: Final = 3
#: How often a call is sent again that was answered with "try again later", and the seconds between.
TRIES: Final = 120
PAUSE_S: Final = 0.5


def send(running: Running, experiment_id: str, population: Population) -> None:
    """Send every run: created, logged, finished; each event is accepted, or a BenchError is raised."""
    local = threading.local()

    def send_part(first: int) -> None:
        if not hasattr(local, "connection"):
            local.connection = http.client.HTTPConnection(HOST, running.port, timeout=120)
        numbers = range(first, min(first + RUNS, population.runs))
        events = [event for number in numbers for event in events_of(population, number, int(experiment_id))]
        _call(local.connection, orjson.dumps({"events": events}))

    with ThreadPoolExecutor(CALLS) as pool:
        for _ in pool.map(send_part, range(0, population.runs, RUNS)):
            pass


def _call(connection: http.client.HTTPConnection, body: bytes) -> None:
    for _ in range(TRIES):
        connection.request("POST", PATH, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 503:
            break
        time.sleep(PAUSE_S)
    if answer.status != 200:
        raise BenchError(f"POST {PATH}: {answer.status} {content[:300].decode(errors='replace')}")
    if refused := [result for result in orjson.loads(content)["results"] if result["status"] != "accepted"]:
        raise BenchError(f"{len(refused)} events were not accepted, first {refused[0]}")


def events_of(population: Population, number: int, experiment_id: int) -> Iterator[dict[str, Any]]:
    """The events of a run, in order."""
    run = population.run(number)
    created = {
        "name": run["run_name"], "start_time": run["start_time"], "user_id": run["user_id"],
        "experiment_id": experiment_id, "tags": run["tags"],
    }  # fmt: skip
    metrics = {
        "keys": list(run["metrics"]), "steps": [STEP], "timestamps": [run["start_time"]],
        "values": list(run["metrics"].values()),
    }  # fmt: skip
    logged = {"metrics": metrics, "params": run["params"]}
    finished = {"status": run["status"], "end_time": run["end_time"]}
    payloads = (("RunCreated", created), ("RunLogged", logged), ("RunUpdated", finished))
    for place, (kind, payload) in enumerate(payloads):
        yield {
            "id": str(_event_id(population.ids[number].tolist(), run["start_time"], place)),
            "type": kind, "version": 1, "stream": f"run/{run['run_id']}", "sent_at": run["start_time"],
            "payload": payload,
        }  # fmt: skip


def _event_id(run: list[int], sent_at: int, place: int) -> UUID:
    """A UUIDv7 of the time sent, and of the run and the event's place in it in place of random bits."""
    high, low = run
    return UUID(int=sent_at << 80 | 7 << 76 | (high % 4096) << 64 | 2 << 62 | (low >> 4) << 2 | place)
