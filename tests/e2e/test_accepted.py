"""What protobuf's JSON rules and old clients' habits allow is taken, and gives the same as the plain spelling."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.server import Server


def new_run(server: Server, **fields: Any) -> dict[str, Any]:
    info: dict[str, Any] = server.post("runs/create", fields).json()["run"]["info"]
    return info


@pytest.mark.parametrize("path", ["log-metric", "log-batch"])
@pytest.mark.parametrize(
    ("sent", "value"),
    [
        (True, 1.0),
        (False, 0.0),
        ("1e3", 1000.0),
        ("-0.5", -0.5),
        (7, 7.0),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        (10**400 // 10**100, 1e300),
    ],
)
def test_a_double_is_a_number_a_boolean_or_a_numeric_string(
    standing_server: Server, path: str, sent: object, value: object
) -> None:
    run_id = new_run(standing_server)["run_id"]
    point = {"key": "m", "value": sent, "timestamp": "5", "step": -3.0}
    body = {"run_id": run_id, **point} if path == "log-metric" else {"run_id": run_id, "metrics": [point]}
    assert standing_server.post(f"runs/{path}", body).json() == {}
    data = standing_server.get("runs/get", run_id=run_id).json()["run"]["data"]
    assert data["metrics"] == [{"key": "m", "value": value, "timestamp": 5, "step": -3}]


def test_unknown_fields_null_camel_case_aliases_and_numbers_of_enums_are_understood(standing_server: Server) -> None:
    run_id = new_run(standing_server, experimentId="0", userId="u", runName=None, nonsense={"a": [1]})["run_id"]
    changed = {"run_uuid": run_id, "status": 3, "endTime": "7", "runName": "n"}
    info = standing_server.post("runs/update", changed).json()["run_info"]
    assert (info["user_id"], info["status"], info["end_time"], info["run_name"]) == ("u", "FINISHED", 7, "n")
    assert standing_server.get("runs/get", run_uuid=run_id).json()["run"]["info"] == info
    listed = standing_server.post("runs/search", {"experimentIds": ["0"], "runViewType": "1", "maxResults": "1000"})
    assert run_id in [run["info"]["run_id"] for run in listed.json()["runs"]]


def test_the_answer_of_runs_create_alone_has_no_outputs_as_in_stock(standing_server: Server) -> None:
    created = standing_server.post("runs/create", {"start_time": 5}).json()["run"]
    found = standing_server.get("runs/get", run_id=created["info"]["run_id"]).json()["run"]
    assert {**created, "outputs": {}} == found
    assert "outputs" not in created


def test_a_body_that_is_json_within_json_is_read(standing_server: Server) -> None:
    run_id = new_run(standing_server)["run_id"]
    body = json.dumps({"run_id": run_id, "key": "größe", "value": "✓"})
    assert standing_server.post("runs/log-parameter", body).json() == {}
    data = standing_server.get("runs/get", run_id=run_id).json()["run"]["data"]
    assert data["params"] == [{"key": "größe", "value": "✓"}]


def test_values_that_are_cut_are_counted_in_a_header(standing_server: Server) -> None:
    run_id = new_run(standing_server)["run_id"]
    pairs = [{"key": "a", "value": "x" * 8001}, {"key": "b", "value": "short"}]
    answer = standing_server.post("runs/log-batch", {"run_id": run_id, "params": pairs, "tags": pairs})
    assert answer.headers["x-runstream-truncated-values"] == "2"
    plain = standing_server.post("runs/log-batch", {"run_id": run_id, "params": pairs[1:]})
    assert "x-runstream-truncated-values" not in plain.headers


def test_the_probes_and_the_paths_of_the_ui_answer(standing_server: Server) -> None:
    with httpx.Client(base_url=standing_server.url, timeout=60) as client:
        assert (client.get("/health").text, client.get("/version").text) == ("OK", "3.17.2")
        about = [client.get(f"/{prefix}/3.0/mlflow/server-info").json() for prefix in ("api", "ajax-api")]
        assert about[0] == about[1]
        assert about[0]["store_type"] == "SqlStore"
        found = [client.get(f"/{prefix}/2.0/mlflow/experiments/get?experiment_id=0") for prefix in ("api", "ajax-api")]
        assert found[0].json() == found[1].json()
        assert found[0].json()["experiment"]["name"] == "Default"
