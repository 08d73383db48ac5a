"""The same points in MLflow's own SQL store and in a server, and both asked for the same samples of them."""

from __future__ import annotations

import math
import random
from typing import Any

import httpx
from findings import leave
from mlflow import get_tracking_uri
from mlflow.entities import Metric
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking import MlflowClient

Point = tuple[float, int, int]

client = MlflowClient()
store = SqlAlchemyStore("sqlite:///store.db", "artifacts")
dice = random.Random(5)

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
VALUES = [math.nan, 0.0, -1.5, 2.0, 1e300]
SHAPES: dict[str, list[Point]] = {
    "steady": [(dice.random(), 10 * step, step) for step in range(2_750)],
    "without steps": [(dice.choice(VALUES), dice.randrange(99), 0) for _ in range(300)],
    "scattered": [
        (dice.choice(VALUES), dice.randrange(4), dice.choice([INT64_MIN, -7, -1, 0, 5, INT64_MAX])) for _ in range(200)
    ],
    "one": [(math.nan, 5, -3)],
    "none": [],
}
INTERVALS: list[dict[str, int]] = [
    {},
    *({"max_results": most} for most in (1, 2, 3, 7, 100, 320, 2_500)),
    {"start_step": 0, "end_step": 0},
    {"start_step": -7, "end_step": 1_000, "max_results": 50},
    {"start_step": INT64_MIN, "end_step": INT64_MAX, "max_results": 11},
    {"start_step": 3_000, "end_step": 4_000},
]
BULKS: list[dict[str, int]] = [
    {},
    {"max_results": 0},
    {"max_results": 1},
    {"max_results": 2_800},
    {"max_results": 99_999},
]


def new_runs() -> dict[str, list[str]]:
    """Runs of the same ids' order in both places: of the server, and of the store."""
    found: dict[str, list[str]] = {"server": [], "store": []}
    for points in SHAPES.values():
        found["server"].append(client.create_run("0").info.run_id)
        found["store"].append(store.create_run("0", "u", 1, [], None).info.run_id)
        for start in range(0, len(points), 1_000):
            metrics = [Metric("m", *point) for point in points[start : start + 1_000]]
            client.log_batch(found["server"][-1], metrics)
            store.log_batch(found["store"][-1], metrics, [], [])
    return found


def of_server(path: str, prefix: str, **query: Any) -> list[list[Any]]:
    answer = httpx.get(f"{get_tracking_uri()}/{prefix}/2.0/mlflow/metrics/{path}", params=query, timeout=60)
    assert answer.status_code == 200, answer.text
    return [[m["run_id"], m["key"], m["value"], m["timestamp"], m["step"]] for m in answer.json().get("metrics", [])]


def of_store(metrics: list[Any]) -> list[list[Any]]:
    shown = [(metric.run_id, metric.key, metric.value, metric.timestamp, metric.step) for metric in metrics]
    return [[run_id, key, "NaN" if math.isnan(value) else value, *rest] for run_id, key, value, *rest in shown]


def intervals(runs: dict[str, list[str]]) -> list[list[Any]]:
    """[asked, the server's answer, the store's], runs by their places."""
    found = []
    for asked in INTERVALS:
        order = [*dice.sample(range(len(SHAPES)), len(SHAPES)), 0]
        ours = of_server(
            "get-history-bulk-interval",
            dice.choice(["api", "ajax-api"]),
            run_ids=[runs["server"][at] for at in order],
            metric_key="m",
            **asked,
        )
        most, start, end = asked.get("max_results", 2_500), asked.get("start_step"), asked.get("end_step")
        ids = [runs["store"][at] for at in order]
        theirs = of_store(store.get_metric_history_bulk_interval(ids, "m", most, start, end))
        found.append([asked, placed(ours, runs["server"]), placed(theirs, runs["store"])])
    return found


def bulks(runs: dict[str, list[str]]) -> list[list[Any]]:
    """The same of the bulk histories of one run each, since the runs' ids have different orders."""
    found = []
    for asked in BULKS:
        for ours, theirs in zip(runs["server"], runs["store"], strict=True):
            most = min(asked.get("max_results", 25_000), 25_000)
            answer = of_server("get-history-bulk", "ajax-api", run_id=[ours, "unknown", ours], metric_key="m", **asked)
            expected = of_store(store.get_metric_history_bulk([theirs, "unknown", theirs], "m", most))
            found.append([asked, placed(answer, [ours]), placed(expected, [theirs])])
    return found


def placed(metrics: list[list[Any]], run_ids: list[str]) -> list[list[Any]]:
    return [[run_ids.index(run_id), *rest] for run_id, *rest in metrics]


if __name__ == "__main__":
    made = new_runs()
    leave({"runs": made, "intervals": intervals(made), "bulks": bulks(made)})
