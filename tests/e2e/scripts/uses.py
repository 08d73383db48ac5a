"""Runs that use datasets and models, and make models. Leaves what the client saw, on whatever store it works."""

from __future__ import annotations

import json
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import requests
from findings import leave, refusal
from mlflow.entities import DatasetInput, LoggedModelInput, LoggedModelOutput, Run
from mlflow.models import Model
from mlflow.tracking import MlflowClient

client = MlflowClient()
names: dict[str, str] = {}


def told(run_id: str) -> dict[str, Any]:
    """What a run uses and made, in an order of its own; it is told twice, alone and in a list."""
    alone = client.get_run(run_id)
    [listed] = [run for run in client.search_runs([alone.info.experiment_id]) if run.info.run_id == run_id]
    assert uses(alone) == uses(listed)
    return {
        "uses": uses(alone),
        "models": sorted(model.model_id for model in alone.inputs.model_inputs),
        "makes": sorted([model.model_id, model.step] for model in alone.outputs.model_outputs),
        "history": history(alone),
        "metrics": alone.data.metrics,
    }


def uses(run: Run) -> list[Any]:
    return sorted(
        [*(getattr(use.dataset, name) for name in ("name", "digest", "source_type", "source", "schema", "profile")),
         sorted([tag.key, tag.value] for tag in use.tags)]
        for use in run.inputs.dataset_inputs
    )  # fmt: skip


def history(run: Run) -> Any:
    models = json.loads(run.data.tags.get("mlflow.log-model.history", "[]"))
    return [{**model, "run_id": names[model["run_id"]]} for model in models]


def summaries(*experiment_ids: str) -> list[list[str | None]]:
    """The datasets of experiments; the client itself has no call for them, the web pages have."""
    address = mlflow.get_tracking_uri()
    if address.startswith("http"):
        url = f"{address}/ajax-api/2.0/mlflow/experiments/search-datasets"
        answer = requests.post(url, json={"experiment_ids": experiment_ids}, timeout=60)
        answer.raise_for_status()
        found = [
            [s["experiment_id"], s["name"], s["digest"], s.get("context")]
            for s in answer.json().get("dataset_summaries", [])
        ]
    else:
        rows = client._tracking_client.store._search_datasets(list(experiment_ids))
        found = [[row.experiment_id, row.name, row.digest, row.context] for row in rows]
    return sorted(([names[number], *rest] for number, *rest in found), key=str)


def training() -> str:
    """One dataset in two contexts, of which the first counts, another one, and one that a metric is measured on."""
    with mlflow.start_run() as run:
        names[run.info.run_id] = "training"
        mlflow.log_input(wine, context="training", tags={"split": "1 ✓"})
        mlflow.log_input(wine, context="eval")
        mlflow.log_input(array)
        mlflow.log_input(array, context="eval")
        mlflow.log_metrics({"accuracy": 0.75}, dataset=held_out)
    return run.info.run_id


def other_source() -> str:
    """The same data from elsewhere: within the experiment it is known already."""
    with mlflow.start_run() as run:
        names[run.info.run_id] = "other source"
        mlflow.log_input(mlflow.data.from_pandas(frame, source="/elsewhere.csv", name="wine"), context="eval")
    return run.info.run_id


def models() -> str:
    """Models as names, and the old call that lists them in a tag."""
    run_id = client.create_run(experiment).info.run_id
    names[run_id] = "models"
    client.log_inputs(run_id, models=[LoggedModelInput("m-1"), LoggedModelInput("m-2")])
    client.log_inputs(run_id, datasets=[DatasetInput(wine._to_mlflow_entity(), [])], models=[LoggedModelInput("m-1")])
    client.log_outputs(run_id, [LoggedModelOutput("m-3", 7), LoggedModelOutput("m-4", 0)])
    for path in ("a", "b é"):
        model = Model(path, run_id, "2026-01-01 00:00:00", {"python_function": {"env": "x"}}, model_uuid=path)
        client._record_logged_model(run_id, model)
    return run_id


def refusals() -> list[str]:
    """What cannot be written to: a run that is deleted, and one that nobody made."""
    run_id = client.create_run(experiment).info.run_id
    client.delete_run(run_id)
    model = Model("a", run_id, "2026-01-01 00:00:00", {})
    return [
        refusal(call, target, argument)
        for target in (run_id, "0" * 32)
        for call, argument in (
            (client.log_inputs, [DatasetInput(wine._to_mlflow_entity(), [])]),
            (client.log_outputs, [LoggedModelOutput("m-1", 0)]),
            (client._record_logged_model, model),
        )
    ]


frame = pd.DataFrame({"alcohol": [12.5, 13.0, None], "quality": [5, 6, 7], "grape": ["Müller", "b", "c"]})
wine = mlflow.data.from_pandas(frame, source="/wine.csv", name="wine", targets="quality")
array = mlflow.data.from_numpy(np.arange(12.0).reshape(3, 4), source="/array.npy", name="array")
held_out = mlflow.data.from_pandas(frame[:2], source="/held-out.csv", name="held out")
experiment = client.create_experiment("uses")
elsewhere = client.create_experiment("elsewhere")
names |= {experiment: "uses", elsewhere: "elsewhere"}

mlflow.set_experiment(experiment_id=experiment)
runs = [training(), other_source(), models()]
mlflow.set_experiment(experiment_id=elsewhere)
runs += [other_source()]
leave(
    {
        "runs": [told(run_id) for run_id in runs],
        "ids": runs,
        "experiments": [experiment, elsewhere],
        "summaries": [summaries(experiment), summaries(elsewhere, experiment)],
        "refusals": refusals(),
    }
)
