"""One run with very many metric keys and params. Leaves what is wrong with what the client reads afterwards."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.request import Request, urlopen

from findings import history, leave, refusal
from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

KEYS = 100_000
THREADS = 4


def log_batch(body: dict[str, Any]) -> int:
    """The status of a call."""
    url = f"{os.environ['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/runs/log-batch"
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=60) as answer:
        status: int = answer.status
    return status


def main() -> None:
    client = MlflowClient()
    run_id = client.create_run("0").info.run_id
    metrics = {f"layer/{number}/norm": number / 3 for number in range(KEYS)}
    params = {f"option/{number}": str(number) for number in range(KEYS)}
    points = [{"key": key, "value": value, "timestamp": 1, "step": 0} for key, value in metrics.items()]
    settings = [{"key": key, "value": value} for key, value in params.items()]
    batches = [
        {"run_id": run_id, "metrics": points[at : at + 100], "params": settings[at : at + 100]}
        for at in range(0, KEYS, 100)
    ]
    with ThreadPoolExecutor(THREADS) as threads:  # the client itself would take most of a minute
        assert set(threads.map(log_batch, batches)) == {200}
    client.log_batch(
        run_id,
        [Metric("layer/0/norm", 0.5, 2, 1), Metric("one more", 1.0, 2, 1)],
        [Param("option/0", "0"), Param("one more", "1")],
    )
    metrics |= {"layer/0/norm": 0.5, "one more": 1.0}
    params["one more"] = "1"
    refused = refusal(client.log_param, run_id, "option/1", "other")
    data = client.get_run(run_id).data
    leave(
        {
            "counts": [len(data.metrics), len(data.params)],
            "equal": [data.metrics == metrics, data.params == params],
            "refused": refused,
            "history": history(client, run_id, "layer/0/norm"),
            "run_id": run_id,
        }
    )


if __name__ == "__main__":
    main()
