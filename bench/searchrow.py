"""Measures searches: as many as 20 connections get answered, and how long one takes."""

from __future__ import annotations

import http.client
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Final

import orjson

from bench.api import PREFIX, Api
from bench.load import Load, run_load
from bench.measurement import Measurement, of_load
from bench.request import FIRST_NUMBER, post
from bench.rows import WRITES, SearchLoadRow, ShapeRow
from bench.searched import SEARCH, Searched
from bench.servers.running import HOST, Running
from bench.shapes import Shape
from bench.writer import Written

EXPERIMENTS_SEARCH: Final = f"{PREFIX}/experiments/search"

PAGE: Final = Shape("page", "page of 1,000", 1000)
#: Experiments of a server that are searched.
EXPERIMENTS: Final = 20
CONNECTIONS: Final = 20

#: A load takes as long as so many answers one after the other: what is under way at its end does not count, and would
#: be most of what a slow server does.
ANSWERS: Final = 8

#: A search is measured at least so often.
LEAST: Final = 5


def measure_pages(
    row: SearchLoadRow, at: Searched, running: Running, *, seconds: float, warm_up: float, folder: Path
) -> Measurement:
    """Pages of all runs a second: in each answer the runs are counted, and one before and one after are compared."""
    body = PAGE.body(at.experiment_id)
    right = at.expected(PAGE)
    pages = [at.api.post(SEARCH, orjson.dumps(body))]
    with at.writing(row.writes) if row.writes else nullcontext(list[Written]()) as written:
        load = _load(running, SEARCH, body, ('"run_id"', len(right.runs)), seconds, warm_up, folder / row.name)
    pages.append(at.api.post(SEARCH, orjson.dumps(body)))
    problems = [problem for page in pages if (problem := right.wrong_in(page))]
    return of_load(load, [*problems, *at.lost(), *_trouble(written)], _rate(written))


def measure_experiments(
    row: SearchLoadRow, running: Running, *, seconds: float, warm_up: float, folder: Path
) -> Measurement:
    """Answers with all experiments a second."""
    api = Api(running.port)
    names = _experiments(api)
    names |= {name for place in range(EXPERIMENTS - len(names)) if api.create_experiment(name := f"bench-{place}")}
    count = ('"experiment_id"', len(names))
    load = _load(running, EXPERIMENTS_SEARCH, {"max_results": 1000}, count, seconds, warm_up, folder / row.name)
    return of_load(load, [] if _experiments(api) == names else ["the experiments found are not those created"])


def measure_shape(row: ShapeRow, at: Searched, *, seconds: float, warm_up: float) -> Measurement:
    """The median of the times from a request to the last byte of its answer; every answer is compared, in between."""
    right = at.expected(row.shape)
    body = orjson.dumps(row.shape.body(at.experiment_id))
    with at.writing(WRITES) as written:
        _repeat(at.port, body, warm_up, right.wrong_in)
        taken_ms, wrong = _repeat(at.port, body, seconds, right.wrong_in)
    notes: dict[str, float | int | str] = {
        "searches": len(taken_ms), "p99_ms": round(_p99(taken_ms), 3), "max_ms": round(max(taken_ms), 3),
        "runs": at.population.runs + len(at.live), "runs_found": len(right.runs),
        "filled_in_s": round(at.filled_in_s), "settled": "yes" if at.settled else "no",
        **_rate(written),
    }  # fmt: skip
    if wrong:
        notes["first_wrong_answer"] = wrong[0]
    return Measurement(
        statistics.median(taken_ms),
        errors=len(wrong),
        problems=(*at.lost(), *_trouble(written)),
        notes=notes,
    )


def _repeat(
    port: int, body: bytes, seconds: float, wrong_in: Callable[[dict[str, object]], str | None]
) -> tuple[list[float], list[str]]:
    """Milliseconds of each search of about ``seconds``, and what was wrong with answers."""
    connection = http.client.HTTPConnection(HOST, port, timeout=120)
    taken_ms: list[float] = []
    wrong: list[str] = []
    deadline = time.monotonic() + seconds
    while len(taken_ms) < LEAST or time.monotonic() < deadline:
        started = time.perf_counter()
        connection.request("POST", SEARCH, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        taken_ms.append((time.perf_counter() - started) * 1000)
        if answer.status != 200:
            wrong.append(f"{answer.status} {content[:300].decode(errors='replace')}")
        elif problem := wrong_in(orjson.loads(content)):
            wrong.append(problem)
    connection.close()
    return taken_ms, wrong


def _load(
    running: Running,
    path: str,
    body: dict[str, object],
    count: tuple[str, int],
    seconds: float,
    warm_up: float,
    folder: Path,
) -> Load:
    template = post(f"{HOST}:{running.port}", path, orjson.dumps(body).decode())

    def load(phase: str, duration: float) -> Load:
        return run_load(
            running.url, [template], connections=CONNECTIONS, seconds=duration, first=FIRST_NUMBER,
            folder=folder / phase, expect="count", count=count,
        )  # fmt: skip

    took_s = load("warm-up", warm_up).p50_ms / 1000
    return load("load", max(seconds, ANSWERS * took_s))


def _experiments(api: Api) -> set[str]:
    answer = api.post(EXPERIMENTS_SEARCH, orjson.dumps({"max_results": 1000}))
    return {experiment["name"] for experiment in answer["experiments"]}


def _trouble(written: list[Written]) -> list[str]:
    return [f"{w.errors} log-batches failed meanwhile, first: {w.first_error}" for w in written if w.errors]


def _rate(written: list[Written]) -> dict[str, float | int | str]:
    """What the writer reached, as notes."""
    if not written:
        return {}
    latencies_ms = written[0].latencies_ms
    notes: dict[str, float | int | str] = {"writes_per_second": round(written[0].rate, 1)}
    if latencies_ms:
        notes["write_p50_ms"] = round(statistics.median(latencies_ms), 2)
        notes["write_p99_ms"] = round(_p99(latencies_ms), 2)
    return notes


def _p99(values: list[float]) -> float:
    return sorted(values)[len(values) * 99 // 100]
