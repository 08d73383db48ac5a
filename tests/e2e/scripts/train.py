"""A training job: a classifier of digits, one nested run per strength of regularisation. Leaves what it logged.

Of each run: its parent, status, params, tags, and per metric [step, value] in the order in which it was logged.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import defaultdict
from typing import Any

import mlflow
import numpy as np
from findings import leave, wait_until
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

EPOCHS = 4
BATCH = 128
#: Strengths of regularisation, and how the run logs: None leaves it to MLflow's own setting.
SWEEP = ((1e-4, True), (1e-3, True), (1e-2, False), (1e-1, None))
SYSTEM_METRIC = "system/cpu_utilization_percentage"

client = MlflowClient()
truth: dict[str, dict[str, Any]] = {}


def begun(run: mlflow.ActiveRun, parent: str | None = None) -> dict[str, Any]:
    """The truth about a run that has begun, to be filled."""
    return truth.setdefault(
        run.info.run_id,
        {
            "name": run.info.run_name,
            "parent": parent,
            "status": "FINISHED",
            "params": {},
            "tags": {},
            "metrics": defaultdict(list),
        },
    )


def fit(strength: float, parent: str, synchronous: bool | None) -> float:
    """Train one model in a run of its own; the score of its last epoch."""
    images, digits = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(images / 16, digits, random_state=0)
    with mlflow.start_run(run_name=f"alpha={strength}", nested=True) as run:
        told = begun(run, parent)
        params = {"alpha": strength, "loss": "log_loss", "epochs": EPOCHS, "synchronous": synchronous}
        mlflow.log_params(params, synchronous=synchronous)
        told["params"] = {key: str(value) for key, value in params.items()}
        mlflow.set_tag("data", "digits", synchronous=synchronous)
        told["tags"]["data"] = "digits"
        model = SGDClassifier(loss="log_loss", alpha=strength, random_state=0)
        step, score = 0, 0.0
        weights: list[list[float]] = []
        for epoch in range(EPOCHS):
            for start in range(0, len(train_x), BATCH):
                batch = slice(start, start + BATCH)
                model.partial_fit(train_x[batch], train_y[batch], classes=np.arange(10))
                loss = log_loss(train_y[batch], model.predict_proba(train_x[batch]), labels=np.arange(10))
                mlflow.log_metric("train/loss", loss, step=step, synchronous=synchronous)
                told["metrics"]["train/loss"].append([step, float(loss)])
                step += 1
            score = float(model.score(test_x, test_y))
            scores = {"test/accuracy": score, "norm": float(np.linalg.norm(model.coef_))}
            mlflow.log_metrics(scores, step=epoch, synchronous=synchronous)
            for key, value in scores.items():
                told["metrics"][key].append([epoch, value])
            weights.append(model.coef_.ravel().tolist())
        if strength == SWEEP[0][0]:
            log_weights(run.info.run_id, weights, told)
    return score


def log_weights(run_id: str, weights: list[list[float]], told: dict[str, Any]) -> None:
    """Log every weight after each epoch, many more in one call than one request may hold: the client splits it."""
    now_ms = time.time_ns() // 1_000_000
    metrics = [
        Metric(f"weight/{index}", weight, now_ms, epoch)
        for epoch, column in enumerate(weights)
        for index, weight in enumerate(column)
    ]
    params = {f"column/{index}": f"pixel {index}" for index in range(150)}
    tags = {f"seen.{index}": "yes" for index in range(120)}
    client.log_batch(
        run_id, metrics, [Param(*pair) for pair in params.items()], [RunTag(*pair) for pair in tags.items()]
    )
    told["params"] |= params
    told["tags"] |= tags
    for metric in metrics:
        told["metrics"][metric.key].append([metric.step, metric.value])


def fail(parent: str) -> None:
    """A run whose code raises."""
    with contextlib.suppress(ZeroDivisionError), mlflow.start_run(run_name="fails", nested=True) as run:
        told = begun(run, parent)
        told["status"] = "FAILED"
        mlflow.log_metric("before", 1.0, step=0)
        told["metrics"]["before"].append([0, 1.0])
        raise ZeroDivisionError


def resume(run_id: str) -> None:
    """Go on with a run that has ended."""
    with mlflow.start_run(run_id=run_id):
        mlflow.log_metric("after/resume", 2.0, step=1)
        mlflow.set_tag("resumed", "yes")
    truth[run_id]["metrics"]["after/resume"].append([1, 2.0])
    truth[run_id]["tags"]["resumed"] = "yes"


def main() -> None:
    experiment = mlflow.set_experiment(sys.argv[2])
    with mlflow.start_run(run_name="sweep", log_system_metrics=True, description="all strengths") as sweep:
        told = begun(sweep)
        told["tags"] |= {"mlflow.note.content": "all strengths", "model": "SGDClassifier"}
        mlflow.set_tags({"model": "SGDClassifier"})
        for index, (strength, synchronous) in enumerate(SWEEP):
            mlflow.config.enable_async_logging(synchronous is None)  # type: ignore[no-untyped-call]
            score = fit(strength, sweep.info.run_id, synchronous)
            mlflow.log_metric("accuracy", score, step=index)
            told["metrics"]["accuracy"].append([index, score])
        mlflow.config.enable_async_logging(False)  # type: ignore[no-untyped-call]
        fail(sweep.info.run_id)
        wait_until(lambda: len(client.get_metric_history(sweep.info.run_id, SYSTEM_METRIC)) > 1)
    resume(next(run_id for run_id, run in truth.items() if run["name"] == f"alpha={SWEEP[0][0]}"))
    with mlflow.start_run(run_name="killed") as run:
        begun(run)["status"] = "KILLED"
        mlflow.end_run("KILLED")
    leave({"experiment": experiment.experiment_id, "runs": truth, "system_metric": SYSTEM_METRIC})


if __name__ == "__main__":
    main()
