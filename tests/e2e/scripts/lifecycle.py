"""Runs and experiments that are deleted, restored, renamed, tagged and searched. Leaves what the client saw of it."""

from __future__ import annotations

import time
from functools import partial
from typing import Any
from uuid import uuid4

import mlflow
from findings import leave, refusal, wait_until
from mlflow.entities import Experiment, Run, ViewType
from mlflow.tracking import MlflowClient

client = MlflowClient()
VIEWS = {"active": ViewType.ACTIVE_ONLY, "deleted": ViewType.DELETED_ONLY, "all": ViewType.ALL}


def unique(name: str) -> str:
    return f"{name} {uuid4().hex}"


def new_experiment(name: str = "experiment") -> str:
    experiment_id: str = client.create_experiment(unique(name))
    return experiment_id


def named(name: str) -> Experiment:
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    return experiment


def is_past(time_ms: int) -> bool:
    return time.time_ns() // 1_000_000 > time_ms


def runs() -> dict[str, Any]:
    """A run is deleted and restored; while it is deleted it is read, and nothing can be written."""
    experiment_id = new_experiment()
    run = client.create_run(experiment_id, run_name="first")
    run_id = run.info.run_id
    client.log_metric(run_id, "m", 1.0)
    client.delete_run(run_id)
    client.delete_run(run_id)
    while_deleted = {
        "stage": client.get_run(run_id).info.lifecycle_stage,
        "metrics": client.get_run(run_id).data.metrics,
        "listed": {name: len(client.search_runs([experiment_id], run_view_type=view)) for name, view in VIEWS.items()},
        "refusals": [
            refusal(client.log_metric, run_id, "m", 2.0),
            refusal(client.log_param, run_id, "p", 1),
            refusal(client.set_tag, run_id, "t", 1),
            refusal(client.update_run, run_id, "FINISHED"),
            refusal(client.delete_tag, run_id, "mlflow.runName"),
        ],
    }
    client.restore_run(run_id)
    client.restore_run(run_id)
    client.log_metric(run_id, "m", 3.0, step=1)
    client.set_terminated(run_id)
    client.log_metric(run_id, "m", 4.0, step=2)
    client.update_run(run_id, name="second")
    renamed = client.get_run(run_id)
    client.set_tag(run_id, "mlflow.runName", "third")
    client.set_tag(run_id, "mlflow.runName", "")
    return {
        "while deleted": while_deleted,
        "restored": [renamed.info.lifecycle_stage, renamed.info.status, renamed.data.metrics["m"]],
        "names": [
            run.info.run_name,
            renamed.info.run_name,
            renamed.data.tags["mlflow.runName"],
            client.get_run(run_id).info.run_name,
        ],
        "random name": bool(client.create_run(experiment_id).info.run_name),
        "missing": [
            refusal(client.get_run, "0" * 32),
            refusal(client.delete_run, "0" * 32),
            refusal(client.log_metric, "0" * 32, "m", 1.0),
        ],
    }


def run_tags() -> dict[str, Any]:
    """Tags of a run are set, set again and deleted."""
    run_id = client.create_run(new_experiment(), tags={"given": "1"}).info.run_id
    client.set_tag(run_id, "a", "1")
    client.set_tag(run_id, "a", "2")
    client.set_tag(run_id, "b", "1")
    client.delete_tag(run_id, "b")
    tags = client.get_run(run_id).data.tags
    return {
        "tags": {key: value for key, value in tags.items() if not key.startswith("mlflow.")},
        "deleted again": refusal(client.delete_tag, run_id, "b"),
    }


def experiments() -> dict[str, Any]:
    """An experiment's names, tags, and what deleting it means for its runs."""
    name = unique("old")
    experiment_id = client.create_experiment(name, tags={"given": "1"})
    kept, deleted = (client.create_run(experiment_id).info.run_id for _ in range(2))
    client.delete_run(deleted)
    client.delete_experiment(experiment_id)
    while_deleted = {
        "stage": client.get_experiment(experiment_id).lifecycle_stage,
        "by name": named(name).lifecycle_stage,
        "runs": [client.get_run(run_id).info.lifecycle_stage for run_id in (kept, deleted)],
        "refusals": {
            "create": refusal(client.create_experiment, name),
            "set_experiment": refusal(mlflow.set_experiment, name),
            "create run": refusal(client.create_run, experiment_id),
            "log": refusal(client.log_metric, kept, "m", 1.0),
            "rename": refusal(client.rename_experiment, experiment_id, unique("new")),
            "tag": refusal(client.set_experiment_tag, experiment_id, "k", "v"),
            "delete": refusal(client.delete_experiment, experiment_id),
        },
    }
    client.restore_run(kept)  # by itself, in an experiment that is deleted
    restored_alone = client.get_run(kept).info.lifecycle_stage
    client.restore_experiment(experiment_id)
    after = [client.get_run(run_id).info.lifecycle_stage for run_id in (kept, deleted)]
    other, newer = client.create_experiment(unique("other")), unique("newer")
    client.rename_experiment(experiment_id, newer)
    client.set_experiment_tag(experiment_id, "a", "1")
    client.set_experiment_tag(experiment_id, "b", "1")
    client.set_experiment_tag(experiment_id, "a", "2")
    client.delete_experiment_tag(experiment_id, "b")
    for number in range(50):
        client.set_experiment_tag(other, f"mlflow.customView.view{number}", "{}")
    seen = client.get_experiment(experiment_id)
    return {
        "while deleted": while_deleted,
        "custom views": [
            refusal(client.set_experiment_tag, other, "mlflow.customView.view50", "{}"),
            refusal(client.set_experiment_tag, other, "mlflow.customView.view7", "new"),
            len(client.get_experiment(other).tags),
        ],
        "restored alone": restored_alone,
        "after restoring": [seen.lifecycle_stage, *after],
        "renamed": [seen.name == newer, client.get_experiment_by_name(name) is None],
        "old name is free": bool(client.create_experiment(name)),
        "name taken": refusal(client.rename_experiment, other, newer),
        "tags": seen.tags,
        "tag deleted again": refusal(client.delete_experiment_tag, experiment_id, "b"),
        "restored again": refusal(client.restore_experiment, experiment_id),
        "unknown": [
            client.get_experiment_by_name(unique("none")) is None,
            refusal(client.get_experiment, "999999"),
            refusal(client.get_experiment, "letters"),
        ],
        "artifacts": client.create_run(experiment_id).info.artifact_uri.startswith(seen.artifact_location + "/"),
        "default": [client.get_experiment("0").name, named("Default").experiment_id],
    }


def pages_of(experiment_ids: list[str], size: int, view: int = ViewType.ACTIVE_ONLY) -> list[list[Run]]:
    """All runs in pages of at most ``size``."""
    page = client.search_runs(experiment_ids, run_view_type=view, max_results=size)
    pages: list[list[Run]] = [page]
    while page.token:
        page = client.search_runs(experiment_ids, run_view_type=view, max_results=size, page_token=page.token)
        pages.append(page)
    return pages


def searched_runs() -> dict[str, Any]:
    """Runs of experiments, newest first, in pages; by view; a run that is created meanwhile shifts nothing."""
    first, second = new_experiment(), new_experiment()
    now_ms = time.time_ns() // 1_000_000
    made = {
        number: client.create_run((first, second)[number % 2], start_time=now_ms + number // 3).info.run_id
        for number in range(25)
    }
    for number in (3, 8):
        client.delete_run(made[number])
    number_of = {run_id: number for number, run_id in made.items()}

    def numbers(runs: list[Run]) -> list[int]:
        return [number_of[run.info.run_id] for run in runs if run.info.run_id in number_of]

    pages = pages_of([first, second], 10)
    page = client.search_runs([first], max_results=4)
    client.create_run(first, start_time=now_ms + 1000)
    following = client.search_runs([first], max_results=4, page_token=page.token)
    return {
        "pages": [numbers(page) for page in pages],
        "start times": [run.info.start_time - now_ms for page in pages for run in page],
        "one experiment": sorted(numbers(pages_of([second], 100)[0])),
        "views": {name: sorted(numbers(pages_of([second, first], 100, view)[0])) for name, view in VIEWS.items()},
        "shifted": sorted(numbers(page + following)),
        "none": [len(client.search_runs([])), len(client.search_runs(["999999"]))],
        "pandas": len(mlflow.search_runs([second])),
        "filter": numbers(client.search_runs([first, second], f"run_id IN ('{made[7]}', '{made[8]}', '{made[12]}')")),
        "wrong filter": refusal(client.search_runs, [first], "metrics.m > 'x'"),
    }


def searched_experiments() -> dict[str, Any]:
    """Experiments by name, by view and in pages, newest first."""
    mark = uuid4().hex
    names = [f"{mark} {number}" for number in range(7)]
    for name in names:
        made = client.get_experiment(client.create_experiment(name))
        wait_until(partial(is_past, made.creation_time or 0))  # so that "newest first" has one answer
    client.delete_experiment(named(names[2]).experiment_id)
    like = f"name LIKE '{mark}%'"
    pages = [client.search_experiments(filter_string=like, max_results=2)]
    while pages[-1].token:
        pages.append(client.search_experiments(filter_string=like, max_results=2, page_token=pages[-1].token))
    return {
        "names": names,
        "pages": [[experiment.name for experiment in page] for page in pages],
        "views": {
            name: [experiment.name for experiment in client.search_experiments(view, filter_string=like)]
            for name, view in VIEWS.items()
        },
        "by name": [experiment.name for experiment in client.search_experiments(filter_string=f"name = '{names[4]}'")],
        "ordered": [
            experiment.name for experiment in client.search_experiments(filter_string=like, order_by=["name ASC"])
        ],
        "all": len(client.search_experiments()) > len(names),
    }


if __name__ == "__main__":
    leave({found.__name__: found() for found in (runs, run_tags, experiments, searched_runs, searched_experiments)})
