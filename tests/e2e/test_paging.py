"""Pages of any size hold the same as one page, wherever they end."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.server import Server

ENDS = (-(2**63), -1, 0, 2**63 - 1)
VALUES = ("-Infinity", -5e-324, 0.0, 5e-324, 1.5, "Infinity", "NaN")


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_a_page_of_a_history_may_end_with_any_point(standing_server: Server, size: int) -> None:
    run_id = standing_server.post("runs/create", {}).json()["run"]["info"]["run_id"]
    points = [
        {"key": "m", "timestamp": timestamp, "step": step, "value": value}
        for timestamp in ENDS[2:]
        for step in ENDS
        for value in VALUES
    ]
    assert standing_server.post("runs/log-batch", {"run_id": run_id, "metrics": points[::-1]}).status_code == 200
    path = f"{standing_server.url}/api/2.0/mlflow/metrics/get-history"
    query: dict[str, Any] = {"run_id": run_id, "metric_key": "m", "max_results": size}
    read = []
    with httpx.Client(timeout=60) as client:
        while True:
            page = client.get(path, params=query).json()
            assert 0 < len(page["metrics"]) <= size
            read += page["metrics"]
            if "next_page_token" not in page:
                break
            query["page_token"] = page["next_page_token"]
    assert read == points


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_a_page_of_runs_may_end_with_any_run(standing_server: Server, size: int) -> None:
    experiment_id = standing_server.post("experiments/create", {"name": f"pages of {size}"}).json()["experiment_id"]
    made = []
    for start_time in (*ENDS, 5, 5, 5):
        body = {"experiment_id": experiment_id, "start_time": start_time}
        answered = standing_server.post("runs/create", body).json()["run"]
        made.append({**answered, "outputs": {}})  # as in stock, the answer to a creation alone has none
    query: dict[str, Any] = {"experiment_ids": [experiment_id], "max_results": size}
    read = []
    while True:
        page = standing_server.post("runs/search", query).json()
        assert 0 < len(page["runs"]) <= size
        read += page["runs"]
        if "next_page_token" not in page:
            break
        query["page_token"] = page["next_page_token"]
    assert read == sorted(made, key=lambda run: (-run["info"]["start_time"], run["info"]["run_id"]))
