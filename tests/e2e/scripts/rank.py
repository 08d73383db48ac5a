"""One of several processes that log at the same time: to one run that they share, and to a run of its own.

Arguments: its number, how many there are, a directory to meet in, the run to share, the name of an experiment.
Leaves the experiment that it was given, its own run and which of its conflicting params were taken.
"""

from __future__ import annotations

import sys
from pathlib import Path

import mlflow
from findings import leave, refusal, wait_until
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

STEPS = 40
CONFLICTS = 10

client = MlflowClient()


def meet(place: Path, where: str, rank: int, ranks: int) -> None:
    """Wait until all processes are here."""
    (place / f"{where}.{rank}").touch()
    wait_until(lambda: len(list(place.glob(f"{where}.*"))) == ranks)


def log(run_id: str, rank: int, ranks: int) -> list[str]:
    """Log to a run: the same points as all others, others under the same key, and keys of its own."""
    answers = []
    for step in range(STEPS):
        own_step = step * ranks + rank
        client.log_metric(run_id, "same", step / 7, timestamp=step, step=step)
        client.log_batch(
            run_id,
            metrics=[
                Metric("interleaved", own_step / 3, own_step, own_step),
                Metric(f"own/{rank}", step / 9, step, step),
                Metric("same/batch", step / 11, step, step),
            ],
            params=[Param("equal", "1"), Param(f"own/{rank}/{step}", str(step))],
            tags=[RunTag(f"own.{rank}", str(step))],
        )
        if step < CONFLICTS:
            answers.append(refusal(client.log_param, run_id, f"conflict/{step}", rank))
    return answers


def main() -> None:
    rank, ranks, place, shared, name = int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), sys.argv[5], sys.argv[6]
    meet(place, "start", rank, ranks)
    experiment = mlflow.set_experiment(name)
    meet(place, "experiment", rank, ranks)
    with mlflow.start_run(experiment_id=experiment.experiment_id, run_name=f"rank {rank}") as own:
        answers = log(shared, rank, ranks)
        log(own.info.run_id, rank, ranks)
    leave({"experiment": experiment.experiment_id, "own": own.info.run_id, "answers": answers})


if __name__ == "__main__":
    main()
