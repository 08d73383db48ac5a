"""Values, orders and conflicts of one run's metrics, params and tags. Leaves what the client saw of them."""

from __future__ import annotations

import math
import random
from typing import Any

from findings import history, leave, refusal
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

LONG = 60_000
client = MlflowClient()


def new_run() -> str:
    run_id: str = client.create_run("0").info.run_id
    return run_id


def conflict() -> dict[str, Any]:
    """A param that is logged again, with its value and with others; alone and within a batch."""
    run_id = new_run()
    client.log_param(run_id, "rate", 0.1)
    client.log_param(run_id, "rate", "0.1")
    refusals = [
        refusal(client.log_param, run_id, "rate", "0.2"),
        refusal(client.log_batch, run_id, params=[Param("rate", "0.3")]),
        refusal(
            client.log_batch,
            run_id,
            metrics=[Metric("beside", 1.0, 1, 0)],
            params=[Param("new", "1"), Param("rate", "0.4")],
            tags=[RunTag("beside", "1")],
        ),
        refusal(client.log_batch, run_id, params=[Param("twice", "1"), Param("twice", "1")]),
    ]
    data = client.get_run(run_id).data
    return {
        "refusals": refusals,
        "params": data.params,
        "metrics": data.metrics,
        "tags": [key for key in data.tags if not key.startswith("mlflow.")],
    }


def special() -> dict[str, Any]:
    """NaN, the infinities and the ends of the range, as the latest value and in the history."""
    values = {
        "nan": math.nan,
        "infinity": math.inf,
        "minus infinity": -math.inf,
        "denormal": 5e-324,
        "greatest": 1.7976931348623157e308,
        "minus zero": -0.0,
        "third": 1 / 3,
    }
    one_by_one, batch = new_run(), new_run()
    for key, value in values.items():
        client.log_metric(one_by_one, key, value, timestamp=1, step=-(2**63))
    client.log_batch(batch, [Metric(key, value, 2**63 - 1, 2**63 - 1) for key, value in values.items()])
    return {
        "sent": values,
        "latest": [client.get_run(run_id).data.metrics for run_id in (one_by_one, batch)],
        "histories": [{key: history(client, run_id, key) for key in values} for run_id in (one_by_one, batch)],
    }


def latest() -> dict[str, dict[str, float]]:
    """The values that a run shows, of points that come in an order of their own: (value, timestamp, step)."""
    points = {
        "step wins": [(1.0, 50, 2), (2.0, 99, 1)],
        "then timestamp": [(1.0, 51, 2), (2.0, 50, 2)],
        "then value": [(2.0, 50, 2), (1.0, 50, 2)],
        "nan counts as zero": [(math.nan, 50, 2), (-1.0, 50, 2)],
        "infinity": [(math.inf, 50, 2), (1e308, 50, 2)],
        "negative steps": [(1.0, 50, -2), (2.0, 50, -3)],
    }
    one_by_one, batch = new_run(), new_run()
    for key, column in points.items():
        for value, timestamp, step in column:
            client.log_metric(one_by_one, key, value, timestamp, step)
    client.log_batch(batch, [Metric(key, *point) for key, column in points.items() for point in column])
    return {
        "one by one": client.get_run(one_by_one).data.metrics,
        "in one batch": client.get_run(batch).data.metrics,
    }


def order() -> dict[str, Any]:
    """A history comes by (timestamp, step, value), and an equal point counts once."""
    run_id = new_run()
    points = [(float(value), timestamp, step) for value in (2, 1) for timestamp in (7, 5, 6) for step in (1, -1, 0)]
    for _ in range(2):
        client.log_batch(run_id, [Metric("m", *point) for point in points])
        client.log_metric(run_id, "m", *points[0])
    read = client.get_metric_history(run_id, "m")
    return {
        "sent": [[timestamp, step, value] for value, timestamp, step in points],
        "read": [[point.timestamp, point.step, point.value] for point in read],
        "unknown key": len(client.get_metric_history(run_id, "none")),
    }


def long() -> dict[str, bool | int]:
    """A history of more points than the client asks for at once."""
    run_id = new_run()
    dice = random.Random(1)
    points = [(dice.random(), 1_700_000_000_000 + step // 7, step) for step in range(LONG)]
    client.log_batch(run_id, [Metric("m", *point) for point in points])
    read = client.get_metric_history(run_id, "m")
    return {
        "points": len(read),
        "equal": [(point.value, point.timestamp, point.step) for point in read] == points,
    }


def text() -> dict[str, Any]:
    """Keys and values at and beyond their greatest lengths, in any alphabet."""
    run_id = new_run()
    params = {"k" * 250: "v", "größe/学習": "0.1 ✓ \U0001f600", "empty": "", "long": "é" * 6001}
    tags = {"größe/学習": "\U0001f600\n", "long": "é" * 8001}
    client.log_batch(
        run_id, params=[Param(*pair) for pair in params.items()], tags=[RunTag(*pair) for pair in tags.items()]
    )
    data = client.get_run(run_id).data
    return {
        "params": [params, data.params],
        "tags": [tags, {key: value for key, value in data.tags.items() if not key.startswith("mlflow.")}],
    }


if __name__ == "__main__":
    leave({found.__name__: found() for found in (conflict, special, latest, order, long, text)})
