"""Answers in MLflow's JSON: snake case, 64-bit integers as numbers, NaN and the infinities as strings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from runstream_projections.artifact_uri import artifact_root, artifact_uri
from runstream_projections.chunk import Points

#: What a proto message without fields looks like.
EMPTY = b"{}"


def dump(body: object) -> bytes:
    """Return a body as JSON."""
    return orjson.dumps(body)


def load(text: str) -> Any:
    """Return what a JSON text says."""
    return orjson.loads(text)


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
    inputs, outputs = orjson.Fragment(row["inputs"]), orjson.Fragment(row["outputs"])
    return {"info": run_info(row), "data": data, "inputs": inputs, "outputs": outputs}


def dataset_summary(row: Mapping[str, Any]) -> dict[str, Any]:
    """A dataset in one of the contexts that an experiment's runs use it in, or in none."""
    summary = {"experiment_id": str(row["experiment_id"]), "name": row["name"], "digest": row["digest"]}
    if row["context"]:
        summary["context"] = row["context"]
    return summary


def history(key: str, points: Points) -> list[dict[str, Any]]:
    """Points of one metric."""
    return [
        {"key": key, "value": value, "timestamp": timestamp, "step": step} for value, timestamp, step in _rows(points)
    ]


def run_history(run_id: str, key: str, points: Points) -> list[dict[str, Any]]:
    """Points of one metric of one of several runs."""
    return [
        {"key": key, "value": value, "timestamp": timestamp, "step": step, "run_id": run_id}
        for value, timestamp, step in _rows(points)
    ]


def _rows(points: Points) -> Iterable[tuple[float | str, int, int]]:
    return zip(numbers(points.values.tolist()), points.timestamps.tolist(), points.steps.tolist(), strict=True)
