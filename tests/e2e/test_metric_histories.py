"""Histories of many runs: as MLflow's own store gives them, and as columns."""

from __future__ import annotations

import math
from typing import Any

import httpx
import pyarrow as pa
import pytest

from tests.e2e.client import run_script
from tests.server import Server

NATIVE = "/api/runstream/v1/metrics/history"
ARROW = {"accept": "application/vnd.apache.arrow.stream"}


@pytest.fixture(scope="module")
def found(standing_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the same questions gave of a server and of MLflow's own store, by ``scripts/sampled.py``."""
    return run_script("sampled", standing_server.url, tmp_path_factory.mktemp("sampled") / "job")


def test_a_sampled_history_has_the_points_that_mlflow_chooses(found: Any) -> None:
    for asked, ours, theirs in found["intervals"]:
        assert ours == theirs, asked
    assert max(len(ours) for _, ours, _ in found["intervals"]) > 5_000


def test_a_bulk_history_is_that_of_mlflow_but_that_nan_comes_last(found: Any) -> None:
    for asked, ours, theirs in found["bulks"]:
        if len(theirs) == asked.get("max_results"):  # it ends in the middle of what NaN may order otherwise
            assert [m[3:] for m in ours] == [m[3:] for m in theirs]
        else:
            assert sorted(ours, key=str) == sorted(theirs, key=str)
        places = [(m[3], m[4], m[2] == "NaN", 0.0 if m[2] == "NaN" else m[2]) for m in ours]
        assert places == sorted(places)


def test_unknown_runs_and_keys_have_empty_histories(standing_server: Server) -> None:
    bulk = httpx.get(
        f"{standing_server.url}/ajax-api/2.0/mlflow/metrics/get-history-bulk", params={"run_id": "x", "metric_key": "m"}
    )
    assert (bulk.status_code, bulk.json()) == (200, {"metrics": []})
    interval = standing_server.get("metrics/get-history-bulk-interval", run_ids="x", metric_key="m")
    assert (interval.status_code, interval.json()) == (200, {})
    assert standing_server.get("metrics/get-history-bulk", run_id="x", metric_key="m").status_code == 404
    columns = httpx.get(standing_server.url + NATIVE, params={"run_ids": "x", "keys": "m"})
    none = {"run_id": "x", "key": "m", "steps": [], "timestamps": [], "values": [], "sampled": False, "points": 0}
    assert (columns.status_code, columns.json()) == (200, {"series": [none]})
    arrow = httpx.get(standing_server.url + NATIVE, params={"run_ids": "x", "keys": "m"}, headers=ARROW)
    assert pa.ipc.open_stream(arrow.content).read_all().num_rows == 0


@pytest.fixture(scope="module")
def logged(standing_server: Server) -> tuple[list[str], dict[tuple[str, str], list[tuple[int, int, float]]]]:
    """Two runs with two keys each, and their points by time."""
    run_ids = [standing_server.post("runs/create", {}).json()["run"]["info"]["run_id"] for _ in range(2)]
    points: dict[tuple[str, str], list[tuple[int, int, float]]] = {}
    for run_id in run_ids:
        for key in ("größe/a b", "m"):
            values = [math.nan, math.inf, -math.inf, *(math.sin(at) for at in range(1_997))]
            steps = [-(2**63), 2**63 - 1, *range(1_998)]
            points[run_id, key] = [
                (1_000 + at, step, value) for at, (step, value) in enumerate(zip(steps, values, strict=True))
            ]
            for start in range(0, 2_000, 1_000):
                metrics = [
                    {"key": key, "timestamp": timestamp, "step": step, "value": as_json(value)}
                    for timestamp, step, value in points[run_id, key][start : start + 1_000]
                ]
                assert standing_server.post("runs/log-batch", {"run_id": run_id, "metrics": metrics}).json() == {}
    return run_ids, points


def as_json(value: float) -> float | str:
    return value if math.isfinite(value) else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")


@pytest.mark.parametrize(
    "sample", [{}, {"max_points": 40}, {"max_points": 2_000}, {"start_step": -5, "end_step": 1_500}]
)
@pytest.mark.parametrize("verb", ["GET", "POST"])
def test_columns_are_the_same_as_json_and_as_an_arrow_stream(
    standing_server: Server, logged: Any, sample: dict[str, int], verb: str
) -> None:
    run_ids, points = logged
    asked = {"run_ids": run_ids, "keys": ["m", "größe/a b"], **sample}
    sent: dict[str, Any] = {"params": asked} if verb == "GET" else {"json": asked}
    url = standing_server.url + NATIVE
    series = httpx.request(verb, url, **sent, timeout=60).json()["series"]
    assert [(one["run_id"], one["key"]) for one in series] == [(run, key) for key in asked["keys"] for run in run_ids]
    listed = []
    for one in series:
        expected = points[one["run_id"], one["key"]]
        if "start_step" in sample:
            expected = [point for point in expected if -5 <= point[1] <= 1_500]
        columns = list(zip(one["timestamps"], one["steps"], one["values"], strict=True))
        listed += [(one["run_id"], one["key"], *column) for column in columns]
        in_order = [(at, step, as_json(value)) for at, step, value in expected]
        if "max_points" in sample:
            in_order.sort(key=lambda point: point[1])
        assert one["points"] == len(expected)
        assert one["sampled"] == (sample.get("max_points") == 40)
        if one["sampled"]:
            assert len(columns) <= 40
            assert [point for point in in_order if point in columns] == columns
            assert {in_order[0], in_order[-1], (1_001, 2**63 - 1, "Infinity"), (1_002, 0, "-Infinity")} <= set(columns)
        else:
            assert columns == in_order
    answer = httpx.request(verb, url, **sent, headers=ARROW, timeout=60)
    assert answer.headers["content-type"] == ARROW["accept"]
    table = pa.ipc.open_stream(answer.content).read_all()
    table.validate(full=True)
    rows = [
        (row["run_id"], row["key"], row["timestamp"], row["step"], as_json(row["value"])) for row in table.to_pylist()
    ]
    assert rows == listed


def test_a_long_history_comes_in_several_parts(standing_server: Server) -> None:
    run_id = standing_server.post("runs/create", {}).json()["run"]["info"]["run_id"]
    with httpx.Client(base_url=standing_server.url, timeout=60) as client:
        for start in range(0, 140_000, 1_000):
            metrics = [{"key": "m", "timestamp": at, "step": at, "value": at / 7} for at in range(start, start + 1_000)]
            sent = client.post("/api/2.0/mlflow/runs/log-batch", json={"run_id": run_id, "metrics": metrics})
            assert sent.status_code == 200
        asked = {"run_ids": [run_id], "keys": ["m"]}
        series = client.post(NATIVE, json=asked).json()["series"]
        with client.stream("POST", NATIVE, json=asked, headers=ARROW) as answer:
            batches = list(pa.ipc.open_stream(b"".join(answer.iter_raw())))
    assert [one["points"] for one in series] == [131_072, 8_928] == [batch.num_rows for batch in batches]
    assert [value for one in series for value in one["values"]] == [at / 7 for at in range(140_000)]
    assert [value for batch in batches for value in batch["value"].to_pylist()] == [at / 7 for at in range(140_000)]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"run_ids": []}, "run_ids"),
        ({"keys": ["k"] * 101}, "keys"),
        ({"max_points": 1}, "max_points"),
        ({"end_step": 2**63}, "end_step"),
        ({"start_step": 2, "end_step": 1}, "end_step"),
    ],
)
def test_a_bad_question_is_a_400_that_names_the_parameter(
    standing_server: Server, fields: dict[str, Any], said: str
) -> None:
    body = {"run_ids": ["r"], "keys": ["m"], **fields}
    answer = httpx.post(standing_server.url + NATIVE, json=body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert said in answer.json()["message"]
