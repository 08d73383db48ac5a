"""Answers in MLflow's JSON: snake case, 64-bit integers as numbers, NaN and the infinities as strings."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import orjson

#: What a proto message without fields looks like.
EMPTY = b"{}"


def dump(body: object) -> bytes:
    """Return a body as JSON."""
    return orjson.dumps(body)


def number(value: float) -> float | str:
    """A double as protobuf's JSON has it."""
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def numbers(values: list[float]) -> list[float | str]:
    """A column of doubles; looks at each only where one of them is not finite."""
    if math.isfinite(sum(values)):
        return values  # type: ignore[return-value]
    return [number(value) for value in values]


def pairs(keys: Iterable[str] | None, values: Iterable[str] | None) -> list[dict[str, str]]:
    """Params or tags."""
    return [{"key": key, "value": value} for key, value in zip(keys or (), values or (), strict=True)]


def artifact_uri(root: str, run_id: str) -> str:
    """Where a run's artifacts are: below its experiment's, before any query, as stock joins them."""
    address = urlsplit(root)
    end = f"{run_id}/artifacts"
    path = posixpath.join(address.path, end)
    if not address.scheme:
        return posixpath.join(root, end)
    if not address.path.startswith("/"):  # "file:here": putting the parts together again would make it absolute
        return f"{address.scheme}:{urlunsplit(address._replace(scheme='', path=path))}"
    return urlunsplit(address._replace(path=path))


def artifact_root(experiment_id: int, location: str | None) -> str:
    """Where an experiment's artifacts are: its own location, or the server's proxy."""
    return location if location is not None else f"mlflow-artifacts:/{experiment_id}"


def experiment(row: Mapping[str, Any]) -> dict[str, Any]:
    """An experiment."""
    body: dict[str, Any] = {
        "experiment_id": str(row["experiment_id"]),
        "name": row["name"],
        "artifact_location": artifact_root(row["experiment_id"], row["artifact_location"]),
        "lifecycle_stage": "deleted" if row["deleted"] else "active",
        "last_update_time": row["last_update_time"],
        "creation_time": row["creation_time"],
    }
    tags = pairs(row["tag_keys"], row["tag_values"])
    if tags:
        body["tags"] = tags
    return body


def run_info(row: Mapping[str, Any]) -> dict[str, Any]:
    """A run's ``info``."""
    run_id = row["run_id"]
    info: dict[str, Any] = {
        "run_id": run_id,
        "run_uuid": run_id,
        "run_name": row["name"],
        "experiment_id": str(row["experiment_id"]),
        "user_id": row["user_id"],
        "status": row["status"],
        "start_time": row["start_time"],
        "artifact_uri": artifact_uri(artifact_root(row["experiment_id"], row["artifact_location"]), run_id),
        "lifecycle_stage": "deleted" if row["deleted"] else "active",
    }
    if row["end_time"]:  # as in stock, 0 is not shown
        info["end_time"] = row["end_time"]
    return info


def run(row: Mapping[str, Any]) -> dict[str, Any]:
    """A run, whole; lists that are empty are left out, as protobuf does."""
    data: dict[str, Any] = {}
    if row["metric_keys"]:
        columns = (row["metric_keys"], numbers(row["metric_values"]), row["metric_timestamps"], row["metric_steps"])
        data["metrics"] = [
            {"key": key, "value": value, "timestamp": timestamp, "step": step}
            for key, value, timestamp, step in zip(*columns, strict=True)
        ]
    params = pairs(row["param_keys"], row["param_values"])
    if params:
        data["params"] = params
    tags = pairs(row["tag_keys"], row["tag_values"])
    if tags:
        data["tags"] = tags
    return {"info": run_info(row), "data": data, "inputs": {}, "outputs": {}}


def history(key: str, steps: list[int], timestamps: list[int], values: list[float]) -> list[dict[str, Any]]:
    """Points of one metric."""
    return [
        {"key": key, "value": value, "timestamp": timestamp, "step": step}
        for value, timestamp, step in zip(numbers(values), timestamps, steps, strict=True)
    ]
