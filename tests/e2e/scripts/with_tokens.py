"""Logs with a token as Bearer, then with another one as name and password, then with none and with wrong ones."""

from __future__ import annotations

import os
import sys

from findings import leave, refusal
from mlflow.tracking import MlflowClient

WAYS = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")


def use(**given: str) -> None:
    for name in WAYS:
        os.environ.pop(name, None)
    os.environ.update(given)


def main() -> None:
    alice, bob = sys.argv[2:4]
    client = MlflowClient()
    use(MLFLOW_TRACKING_TOKEN=alice)
    run_id = client.create_run("0").info.run_id
    use(MLFLOW_TRACKING_USERNAME="bob", MLFLOW_TRACKING_PASSWORD=bob)
    client.log_param(run_id, "p", "1")
    found = {"run": run_id, "params": client.get_run(run_id).data.params}
    wrong = {
        "none": {},
        "a wrong token": {"MLFLOW_TRACKING_TOKEN": alice[::-1]},
        "another's name": {"MLFLOW_TRACKING_USERNAME": "alice", "MLFLOW_TRACKING_PASSWORD": bob},
    }
    for what, given in wrong.items():
        use(**given)
        found[what] = refusal(client.log_param, run_id, "q", "1")
    leave(found)


if __name__ == "__main__":
    main()
