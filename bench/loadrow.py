"""Measures a row of requests: warm-up, load, read-back."""

from __future__ import annotations

from pathlib import Path

from bench.api import CREATE_RUN, LOG_BATCH, Api
from bench.load import Load, run_load
from bench.measurement import Measurement, of_load
from bench.readback import check_equal_params, check_metrics, check_new_params, check_runs, sent_by
from bench.request import (
    FIRST_NUMBER,
    create_run_body,
    equal_params_body,
    metrics_body,
    new_params_body,
    post,
)
from bench.rows import LoadRow
from bench.servers.running import HOST, Running, Server


def measure_load(
    row: LoadRow, server: Server, running: Running, *, seconds: float, warm_up: float, folder: Path
) -> Measurement:
    """The rate of right answers, their latencies, and what the read-back of warm-up and load found."""
    api = Api(running.port, runs_page=server.runs_page)
    experiment_id = api.create_experiment(f"bench-{row.name}")
    run_ids = [] if row.sends == "runs" else [api.create_run(experiment_id) for _ in range(row.runs)]
    path, bodies = _bodies(row, experiment_id, run_ids)
    templates = [post(f"{HOST}:{running.port}", path, body) for body in bodies]
    if row.sends == "equal params":
        for body in bodies:
            api.post(path, body.encode())

    loads: list[tuple[Load, Path]] = []
    first = FIRST_NUMBER
    for phase, duration in (("warm-up", warm_up), ("load", seconds)):
        place = folder / f"{row.name}-{phase}"
        load = run_load(
            running.url, templates, connections=row.connections, seconds=duration, first=first, folder=place,
            expect="run_id" if row.sends == "runs" else "empty",
        )  # fmt: skip
        first += load.sent
        loads.append((load, place))
    if row.sends == "runs":
        problems = check_runs(api, experiment_id, loads)
    else:
        problems = _check(row, server, api, run_ids, [load for load, _ in loads])
    return of_load(loads[-1][0], problems)


def _bodies(row: LoadRow, experiment_id: str, run_ids: list[str]) -> tuple[str, list[str]]:
    match row.sends:
        case "metrics":
            return LOG_BATCH, [metrics_body(run_id, row.size) for run_id in run_ids]
        case "new params":
            return LOG_BATCH, [new_params_body(run_id, row.size) for run_id in run_ids]
        case "equal params":
            return LOG_BATCH, [equal_params_body(run_id, row.size) for run_id in run_ids]
        case "runs":
            return CREATE_RUN, [create_run_body(experiment_id)]


def _check(row: LoadRow, server: Server, api: Api, run_ids: list[str], loads: list[Load]) -> list[str]:
    if row.sends == "equal params":
        return check_equal_params(api, run_ids, row.size)
    sent = sent_by(loads, row.runs)
    if row.sends == "metrics":
        return check_metrics(api, run_ids, row.size, sent, bulk=server.bulk_history)
    return check_new_params(api, run_ids, row.size, sent)
