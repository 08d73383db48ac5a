"""Endpoints of what runs use and make: datasets and models. A model is only a name here: none is looked for."""

from __future__ import annotations

from typing import Final

from runstream_projections import reads
from runstream_projections.decisions import MODEL_HISTORY_TAG
from runstream_projections.inputs import INPUTS, dataset_summaries_query
from runstream_projections.runs import RUNS
from runstream_projections.tags import MAX_HISTORY, appended
from runstream_schemas.errors import invalid
from runstream_schemas.events import RunInputsLogged, RunModelLogged, RunOutputsLogged
from runstream_services.gateway import render, requests_inputs, rules
from runstream_services.gateway.http import Answer, Request
from runstream_services.gateway.positions import written
from runstream_services.gateway.service import Gateway

DONE: Final = Answer(render.EMPTY)


async def log_inputs(gateway: Gateway, request: Request) -> Answer:
    """``runs/log-inputs``; what a run uses already stays as it is."""
    asked = requests_inputs.parse_log_inputs(request.body)
    event = RunInputsLogged(datasets=asked.datasets, models=asked.models)
    return written(await gateway.write_run(asked.run_id, event, request.sender))


async def log_outputs(gateway: Gateway, request: Request) -> Answer:
    """``runs/outputs``; again is the same, where stock refuses it: the client sends it again when an answer is lost."""
    asked = requests_inputs.parse_log_outputs(request.body)
    return written(await gateway.write_run(asked.run_id, RunOutputsLogged(models=asked.models), request.sender))


async def log_model(gateway: Gateway, request: Request) -> Answer:
    """``runs/log-model``: one more model in the history that a tag of the run holds."""
    asked = requests_inputs.parse_log_model(request.body, gateway.now_ms())
    # Calls at the same time may all find room: the history is cut then, and whoever comes next is told.
    rows = await gateway.fetch((RUNS.name,), reads.tag_query, asked.run_id, MODEL_HISTORY_TAG)
    history = rows[0]["value"] if rows else "[]"
    if not history.startswith("[") or appended(history, asked.entry)[-1:] != "]":
        raise invalid(
            f"The tag '{MODEL_HISTORY_TAG}' of run '{asked.run_id[: rules.MAX_RUN_ID]}' is no JSON list, or would be "
            f"longer than {MAX_HISTORY} characters with this model: delete the tag, or log the model to another run."
        )
    return written(await gateway.write_run(asked.run_id, RunModelLogged(entry=asked.entry), request.sender))


async def search_datasets(gateway: Gateway, request: Request) -> Answer:
    """``experiments/search-datasets``: what the runs of experiments use, deleted or not, each context once."""
    asked = requests_inputs.parse_search_datasets(request.body)
    rows = await gateway.fetch(
        (INPUTS.name,),
        lambda suffixes: dataset_summaries_query(suffixes[INPUTS.name]),
        asked.experiment_ids,
        rules.MAX_DATASET_SUMMARIES,
    )
    summaries = [render.dataset_summary(row) for row in rows]
    return Answer(render.dump({"dataset_summaries": summaries})) if summaries else DONE
