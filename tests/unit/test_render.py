"""Answers in MLflow's JSON, held to MLflow's own functions."""

from __future__ import annotations

import pytest
from mlflow.utils.uri import append_to_uri_path

from runstream_services.gateway import render


@pytest.mark.parametrize(
    "root",
    [
        "mlflow-artifacts:/3",
        "s3://bucket/prefix",
        "s3://bucket/prefix/",
        "s3://bucket",
        "s3://bucket/prefix?endpoint=a%2Fb&x=y",
        "gs://bucket/a b",
        "file:///var/lib/x",
        "file:relative/x",
        "/var/lib/x",
        "/var/lib/x/",
        "relative/x",
        "dbfs:/x",
        "wasbs://c@a.blob.core.windows.net/x?sig=1",
    ],
)
def test_a_runs_artifacts_are_where_stock_has_them(root: str) -> None:
    assert render.artifact_uri(root, "r" * 32) == append_to_uri_path(root, "r" * 32, "artifacts")


@pytest.mark.parametrize(("end_time", "shown"), [(None, None), (0, None), (7, 7)])
def test_a_run_that_ended_in_1970_shows_no_end_as_in_stock(end_time: int | None, shown: int | None) -> None:
    row = {
        "run_id": "r", "name": "n", "experiment_id": 3, "user_id": "u", "status": "RUNNING", "start_time": 5,
        "end_time": end_time, "artifact_location": None, "deleted": False,
    }  # fmt: skip
    assert render.run_info(row).get("end_time") == shown
