"""Measures what is stored: the history of one long metric, and the bytes that a point takes on disk."""

from __future__ import annotations

import http.client
import random
import statistics
import time
from typing import Final
from urllib.parse import quote

import orjson

from bench.api import PREFIX, Api, in_parallel
from bench.measurement import Measurement, failed
from bench.postgres import Database
from bench.rows import DISK_RUNS, HISTORY_PAGE, HISTORY_POINTS, DiskRow
from bench.seed import WRITERS, long_bodies, seed, wide_bodies
from bench.servers.running import HOST, Running, Server

#: Disk is measured when its size stood still for this long, at the latest after SETTLE_AT_MOST_S.
SETTLE_S: Final = 6
SETTLE_AT_MOST_S: Final = 120

#: The history is read again until this much time is spent, at most HISTORY_REPEATS times; the median counts.
HISTORY_SPEND_S: Final = 6
HISTORY_REPEATS: Final = 5


def measure_history(running: Running) -> Measurement:
    """Seconds that the server takes to give 300,000 points of one key in pages of 25,000."""
    api = Api(running.port)
    run_id = api.create_run(api.create_experiment("bench-history"))
    values = [random.random() for _ in range(HISTORY_POINTS)]
    seeded = seed(running.port, [long_bodies(run_id, "loss", values, 1000)])
    if seeded.errors:
        return failed(f"seeding: {seeded.errors} errors, first {seeded.first_error}")
    taken: list[float] = []
    while len(taken) < HISTORY_REPEATS and sum(taken) < HISTORY_SPEND_S:
        seconds, pages, found = _read_history(running.port, run_id, "loss")
        # FastTrackML answers in no order, so points are compared by step
        if sorted(found) != list(enumerate(values)):
            return failed(f"the {len(found)} points read back are not the {len(values)} sent")
        taken.append(seconds)
    ordered = "yes" if found == sorted(found) else "no"
    return Measurement(statistics.median(taken), notes={"pages": pages, "reads": len(taken), "in_order": ordered})


def _read_history(port: int, run_id: str, key: str) -> tuple[float, int, list[tuple[int, float]]]:
    """Seconds from each request to the last byte of its answer, pages, and (step, value); decoding is not counted."""
    connection = http.client.HTTPConnection(HOST, port, timeout=120)
    found: list[tuple[int, float]] = []
    seconds, pages, token = 0.0, 0, ""
    while True:
        path = f"{PREFIX}/metrics/get-history?run_id={run_id}&metric_key={key}&max_results={HISTORY_PAGE}"
        started = time.perf_counter()
        connection.request("GET", path + (f"&page_token={quote(token)}" if token else ""))
        body = connection.getresponse().read()
        seconds += time.perf_counter() - started
        page = orjson.loads(body)
        found += [(metric.get("step", 0), metric["value"]) for metric in page.get("metrics", ())]
        pages += 1
        token = page.get("next_page_token", "")
        if not token:
            connection.close()
            return seconds, pages, found


def measure_disk(row: DiskRow, server: Server, running: Running) -> Measurement:
    """Bytes of all tables for one point: 100 runs, each event holds ``row.size`` keys at one step."""
    api = Api(running.port)
    experiment_id = api.create_experiment(f"bench-{row.name}")
    run_ids = in_parallel(lambda _: api.create_run(experiment_id), range(DISK_RUNS))
    steps = server.disk_steps[row.size]
    streams = [wide_bodies(run_ids[writer::WRITERS], row.size, steps) for writer in range(WRITERS)]
    seeded = seed(running.port, streams)
    if seeded.errors:
        return failed(f"seeding: {seeded.errors} errors, first {seeded.first_error}")
    database = running.database()
    settled = _settle(database)
    database.query("vacuum")
    database.query("checkpoint")
    used = database.table_bytes()
    return Measurement(
        used / seeded.points,
        problems=() if settled else (f"the sizes had not stood still after {SETTLE_AT_MOST_S} s",),
        notes={"points": seeded.points, "bytes": used, "runs": DISK_RUNS, "steps": steps},
    )


def _settle(database: Database) -> bool:
    """Wait until the tables have stopped growing and shrinking (projections caught up, blocks compacted); if so."""
    deadline = time.monotonic() + SETTLE_AT_MOST_S
    size, since = database.table_bytes(), time.monotonic()
    while time.monotonic() < min(deadline, since + SETTLE_S):
        time.sleep(0.5)
        now = database.table_bytes()
        if now != size:
            size, since = now, time.monotonic()
    return time.monotonic() < deadline
