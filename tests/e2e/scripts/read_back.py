"""Reads every run of an experiment, and every point of the metrics that do not begin with ``system/``."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from findings import history, leave, seen
from mlflow.tracking import MlflowClient


def main() -> None:
    client = MlflowClient()
    found: dict[str, dict[str, Any]] = {}
    readers = ThreadPoolExecutor(4)
    for listed in client.search_runs([sys.argv[2]]):
        run_id = listed.info.run_id
        run = client.get_run(run_id)
        keys = [key for key in run.data.metrics if not key.startswith("system/")]
        found[run_id] = seen(run) | {
            "listed": seen(listed) == seen(run),
            "history": dict(zip(keys, readers.map(partial(history, client, run_id), keys), strict=True)),
        }
    leave(found)


if __name__ == "__main__":
    main()
