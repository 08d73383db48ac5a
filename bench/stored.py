"""Measures what is stored: the history of one long metric, and the bytes that a point takes on disk."""

from __future__ import annotations

import http.client
import random
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import quote

import orjson

from bench.api import NATIVE, PREFIX, Api, in_parallel
from bench.measurement import Measurement, failed
from bench.postgres import Database
from bench.rows import DISK_RUNS, HISTORY_PAGE, HISTORY_POINTS, DiskRow, HistoryRow, Row
from bench.seed import WRITERS, long_bodies, seed, wide_bodies
from bench.servers.running import HOST, Running, Server
from bench.trouble import BenchError

#: Tables are settled when their size stood still for this long; disk is measured at the latest after SETTLE_AT_MOST_S.
SETTLE_S: Final = 6
SETTLE_AT_MOST_S: Final = 120

#: The history is read again until this much time is spent, at most HISTORY_REPEATS times; the median counts.
HISTORY_SPEND_S: Final = 6
HISTORY_REPEATS: Final = 5


#: Reads a history once: seconds from each request to the last byte of its answer, answers, and (step, value).
Read = Callable[[int, str, str], tuple[float, int, list[tuple[int, float]]]]


def measure_histories(rows: list[HistoryRow], server: Server, running: Running) -> Iterator[tuple[Row, Measurement]]:
    """Seconds that the server takes to give 300,000 points of one key, in the way of each row that it has.

    A server without columns gives pages of 25,000: what it took for those is what columns are compared with.
    """
    api = Api(running.port)
    run_id = api.create_run(api.create_experiment("bench-history"))
    values = [random.random() for _ in range(HISTORY_POINTS)]
    seeded = seed(running.port, [long_bodies(run_id, "loss", values, 1000)])
    taken: dict[Read, Measurement] = {}
    for row in rows:
        if seeded.errors:
            yield row, failed(f"seeding: {seeded.errors} errors, first {seeded.first_error}")
            continue
        read = READS[row.columns if server.native else None]
        if read not in taken:
            taken[read] = _measure_history(running.port, run_id, values, read)
        yield row, taken[read]


def _measure_history(port: int, run_id: str, values: list[float], read: Read) -> Measurement:
    taken: list[float] = []
    while len(taken) < HISTORY_REPEATS and sum(taken) < HISTORY_SPEND_S:
        seconds, answers, found = read(port, run_id, "loss")
        # FastTrackML answers in no order, so points are compared by step
        if sorted(found) != list(enumerate(values)):
            return failed(f"the {len(found)} points read back are not the {len(values)} sent")
        taken.append(seconds)
    ordered = "yes" if found == sorted(found) else "no"
    return Measurement(statistics.median(taken), notes={"pages": answers, "reads": len(taken), "in_order": ordered})


def read_pages(port: int, run_id: str, key: str) -> tuple[float, int, list[tuple[int, float]]]:
    """By ``metrics/get-history``, as the MLflow Python client does; decoding is not counted."""
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


def read_json(port: int, run_id: str, key: str) -> tuple[float, int, list[tuple[int, float]]]:
    """As columns in JSON: a long series comes in parts."""
    seconds, body = _columns(port, run_id, key, "application/json")
    parts = orjson.loads(body)["series"]
    return seconds, 1, [pair for part in parts for pair in zip(part["steps"], part["values"], strict=True)]


def read_arrow(port: int, run_id: str, key: str) -> tuple[float, int, list[tuple[int, float]]]:
    """As columns in an Arrow stream."""
    from pyarrow import ipc  # type: ignore[import-untyped]

    seconds, body = _columns(port, run_id, key, "application/vnd.apache.arrow.stream")
    table = ipc.open_stream(body).read_all()
    return seconds, 1, list(zip(table["step"].to_pylist(), table["value"].to_pylist(), strict=True))


def _columns(port: int, run_id: str, key: str, accept: str) -> tuple[float, bytes]:
    connection = http.client.HTTPConnection(HOST, port, timeout=120)
    path = f"{NATIVE}/metrics/history?run_ids={run_id}&keys={quote(key)}"
    started = time.perf_counter()
    connection.request("GET", path, headers={"Accept": accept})
    answer = connection.getresponse()
    body = answer.read()
    seconds = time.perf_counter() - started
    connection.close()
    if answer.status != 200:
        raise BenchError(f"GET {path}: {answer.status} {body[:300].decode(errors='replace')}")
    return seconds, body


READS: Final[dict[str | None, Read]] = {None: read_pages, "json": read_json, "arrow": read_arrow}


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
    settled = settle(database, SETTLE_AT_MOST_S)
    database.query("vacuum")
    database.query("checkpoint")
    used = database.table_bytes()
    return Measurement(
        used / seeded.points,
        problems=() if settled else (f"the sizes had not stood still after {SETTLE_AT_MOST_S} s",),
        notes={"points": seeded.points, "bytes": used, "runs": DISK_RUNS, "steps": steps},
    )


def settle(database: Database, at_most_s: float) -> bool:
    """Wait until the tables have stopped growing and shrinking (projections caught up, blocks compacted); if so."""
    deadline = time.monotonic() + at_most_s
    size, since = database.table_bytes(), time.monotonic()
    while time.monotonic() < min(deadline, since + SETTLE_S):
        time.sleep(0.5)
        now = database.table_bytes()
        if now != size:
            size, since = now, time.monotonic()
    return time.monotonic() < deadline
