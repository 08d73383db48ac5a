"""An experiment that is searched: its finished runs, and 20 newer ones that are written to meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import orjson

from bench.api import CREATE_RUN, LOG_BATCH, PREFIX, Api
from bench.expected import LIVE_RUNS, Expected, expected, live_run
from bench.population import METRICS, Population
from bench.readback import Sent, check_metrics
from bench.request import FIRST_NUMBER
from bench.servers.running import Running, Server
from bench.shapes import Shape
from bench.stored import settle
from bench.trouble import BenchError
from bench.writer import Job, Written, write_key
from bench.writing import writing

#: Connections that write to the live runs.
CONNECTIONS: Final = 10
#: How long it may take until the last of a million runs is found, and compaction after that.
FOUND_S: Final = 3600
SETTLE_S: Final = 900
SEARCH: Final = f"{PREFIX}/runs/search"


@dataclass
class Searched:
    """One experiment of a server, and what was written to its live runs."""

    api: Api
    server: Server
    port: int
    experiment_id: str
    population: Population
    live: list[str]
    #: seconds until all of it was found, and whether the tables then stood still before they were analysed
    filled_in_s: float
    settled: bool
    written: list[Written] = field(default_factory=list)

    @contextmanager
    def writing(self, rate: int) -> Iterator[list[Written]]:
        """While this is entered the live runs take ``rate`` log-batches a second, if the server can."""
        first = FIRST_NUMBER + sum(len(written.owners) for written in self.written)
        done: list[Written] = []
        try:
            with writing(Job(self.port, self.live, first, rate, CONNECTIONS)) as done:
                yield done
        finally:
            self.written += done

    def lost(self) -> list[str]:
        """What is wrong with all that was written to the live runs so far, read back."""
        if not self.written:
            return []
        owners = np.concatenate([np.asarray(written.owners, dtype=np.int32) for written in self.written])
        sent = Sent(sum(written.acknowledged for written in self.written), owners)
        return check_metrics(self.api, self.live, len(METRICS), sent, bulk=self.server.bulk_history, key_of=write_key)

    def expected(self, shape: Shape) -> Expected:
        """The right answer to a search."""
        return expected(shape, self.population, self.live)


def searched(server: Server, running: Running, name: str, population: Population) -> Searched:
    """A new experiment with this population and its live runs, when all that follows from their writing is done."""
    api = Api(running.port)
    experiment_id = api.create_experiment(name)
    started = time.monotonic()
    server.populate(running, experiment_id, population)
    _wait_until_found(api, experiment_id)
    filled_in_s = time.monotonic() - started
    live = [_live_run(api, experiment_id, population, place) for place in range(LIVE_RUNS)]
    database = running.database()
    settled = settle(database, SETTLE_S)
    database.query("vacuum analyze")
    database.query("checkpoint")
    return Searched(api, server, running.port, experiment_id, population, live, filled_in_s, settled)


def _wait_until_found(api: Api, experiment_id: str) -> None:
    """A server that answers reads with all that was written before them may refuse until it has caught up."""
    body = orjson.dumps({"experiment_ids": [experiment_id], "max_results": 1})
    deadline = time.monotonic() + FOUND_S
    while True:
        try:
            api.post(SEARCH, body)
        except BenchError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def _live_run(api: Api, experiment_id: str, population: Population, place: int) -> str:
    run = live_run(population, place)
    body = {
        "experiment_id": experiment_id,
        **{key: run[key] for key in ("run_name", "user_id", "start_time")},
        "tags": _pairs(run["tags"]),
    }
    run_id = str(api.post(CREATE_RUN, orjson.dumps(body))["run"]["info"]["run_id"])
    api.post(LOG_BATCH, orjson.dumps({"run_id": run_id, "params": _pairs(run["params"])}))
    return run_id


def _pairs(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]
