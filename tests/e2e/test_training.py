"""A real training job, logged by MLflow's own client, is all there when another process reads it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.client import run_script
from tests.server import Server

Runs = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def trained(standing_server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Runs]:
    """What the job says it logged, and the runs that another process found."""
    directory = tmp_path_factory.mktemp("training")
    often = {"MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": 1}
    told = run_script("train", standing_server.url, directory / "job", "digits ✓", **often)
    return told, run_script("read_back", standing_server.url, directory / "reader", told["experiment"])


def test_every_run_of_the_job_is_there_with_its_status_and_name(trained: tuple[dict[str, Any], Runs]) -> None:
    told, found = trained
    assert {run_id: (run["status"], run["name"]) for run_id, run in found.items()} == {
        run_id: (run["status"], run["name"]) for run_id, run in told["runs"].items()
    }
    assert sorted(run["status"] for run in found.values()) == ["FAILED", *["FINISHED"] * 5, "KILLED"]
    for run in found.values():
        start_time, end_time = run["times"]
        assert start_time <= end_time
        assert run["experiment"] == told["experiment"]
        assert run["stage"] == "active"
        assert run["listed"]


def test_nested_runs_name_their_parent(trained: tuple[dict[str, Any], Runs]) -> None:
    told, found = trained
    parents = {run_id: run["tags"].get("mlflow.parentRunId") for run_id, run in found.items()}
    assert parents == {run_id: run["parent"] for run_id, run in told["runs"].items()}
    assert sum(parent is not None for parent in parents.values()) == 5


def test_params_and_tags_are_what_was_logged(trained: tuple[dict[str, Any], Runs]) -> None:
    told, found = trained
    for run_id, run in told["runs"].items():
        assert found[run_id]["params"] == run["params"]
        tags = found[run_id]["tags"]
        assert {key: value for key, value in tags.items() if not key.startswith("mlflow.")} == {
            key: value for key, value in run["tags"].items() if not key.startswith("mlflow.")
        }
        assert tags["mlflow.runName"] == run["name"]
        assert {"mlflow.user", "mlflow.source.name", "mlflow.source.type"} <= set(tags)
    assert sum("mlflow.note.content" in run["tags"] for run in found.values()) == 1


def test_every_point_is_there_exactly_once_and_in_order(trained: tuple[dict[str, Any], Runs]) -> None:
    told, found = trained
    for run_id, run in told["runs"].items():
        assert found[run_id]["history"] == run["metrics"]
        latest = {key: value for key, value in found[run_id]["metrics"].items() if not key.startswith("system/")}
        assert latest == {key: points[-1][1] for key, points in run["metrics"].items()}
    points = sum(len(points) for run in found.values() for points in run["history"].values())
    assert points > 4 * 640


def test_system_metrics_are_logged_beside_the_training(trained: tuple[dict[str, Any], Runs]) -> None:
    told, found = trained
    sweeps = [run for run in found.values() if told["system_metric"] in run["metrics"]]
    assert [run["name"] for run in sweeps] == ["sweep"]
    assert {"system/system_memory_usage_megabytes", "system/disk_usage_percentage"} <= set(sweeps[0]["metrics"])
