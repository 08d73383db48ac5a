"""A job that goes on logging while its server is away for a while.

Arguments: a file that grows by one byte a step, a file that grows by one byte for each connection that failed, and a
file whose existence says that the job may end. Leaves what it logged.
"""

from __future__ import annotations

import logging
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import mlflow
from findings import leave

progress, failures, may_end = (Path(argument) for argument in sys.argv[2:5])
STEPS_AFTERWARDS = 25


class Failures(logging.Handler):
    """Counts urllib3's warnings, one for each attempt that is going to be repeated."""

    def emit(self, record: logging.LogRecord) -> None:
        if "after connection broken" in record.getMessage():
            grow(failures)


def grow(file: Path) -> None:
    with file.open("ab") as grown:
        grown.write(b".")


def main() -> None:
    logging.getLogger("urllib3.connectionpool").addHandler(Failures())
    experiment = mlflow.set_experiment("through an outage")
    runs: dict[str, dict[str, Any]] = {}
    with mlflow.start_run(run_name="parent") as parent:
        told: dict[str, Any] = {"name": "parent", "params": {}, "metrics": defaultdict(list)}
        runs[parent.info.run_id] = told
        step, afterwards = 0, 0
        while afterwards < STEPS_AFTERWARDS:
            afterwards += may_end.exists()
            mlflow.log_metric("one", step / 3, step=step)
            mlflow.log_metrics({"several": step / 5, "late": step / 7}, step=step, synchronous=step % 2 == 0)
            for key, value in (("one", step / 3), ("several", step / 5), ("late", step / 7)):
                told["metrics"][key].append([step, value])
            if step % 5 == 0:
                mlflow.log_param(f"p{step}", step)
                told["params"][f"p{step}"] = str(step)
            if step % 10 == 0:
                with mlflow.start_run(run_name=f"child {step}", nested=True) as child:
                    mlflow.log_metric("x", step)
                runs[child.info.run_id] = {"name": f"child {step}", "params": {}, "metrics": {"x": [[0, step]]}}
            step += 1
            grow(progress)
    leave({"experiment": experiment.experiment_id, "runs": runs})


if __name__ == "__main__":
    main()
