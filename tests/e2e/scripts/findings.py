"""What the scripts share: how they leave what they found, and how they wait."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient


def leave(found: object) -> None:
    """Leave ``found`` for the test, and end. NaN and the infinities stay what they are."""
    Path(sys.argv[1]).write_text(json.dumps(found))


def refusal(call: Callable[..., object], *arguments: Any, **options: Any) -> str:
    """The error code of the MlflowException that a call must raise."""
    try:
        answer = call(*arguments, **options)
    except MlflowException as error:
        return str(error.error_code)
    return f"not refused, but answered {answer!r}"


def wait_until(holds: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{holds} does not hold after {timeout_s:g} s")
        time.sleep(0.05)


def seen(run: Run) -> dict[str, Any]:
    """A run as the client shows it; of its metrics the latest values."""
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "experiment": run.info.experiment_id,
        "stage": run.info.lifecycle_stage,
        "times": [run.info.start_time, run.info.end_time],
        "params": run.data.params,
        "tags": run.data.tags,
        "metrics": run.data.metrics,
    }


def history(client: MlflowClient, run_id: str, key: str) -> list[list[Any]]:
    """All points of one metric as [step, value], in the order in which the client gives them."""
    return [[point.step, point.value] for point in client.get_metric_history(run_id, key)]
