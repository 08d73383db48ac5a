"""Endpoints of experiments."""

from __future__ import annotations

from runstream_projections import reads
from runstream_projections.suffixes import EXPERIMENT_PROJECTIONS
from runstream_schemas.errors import missing
from runstream_schemas.events import (
    Event,
    ExperimentCreated,
    ExperimentDeleted,
    ExperimentRenamed,
    ExperimentRestored,
    ExperimentTagDeleted,
    ExperimentTagSet,
)
from runstream_services.gateway import render, requests_experiments, rules
from runstream_services.gateway.http import Answer, Request
from runstream_services.gateway.positions import written
from runstream_services.gateway.sender import Sender
from runstream_services.gateway.service import Gateway


async def create(gateway: Gateway, request: Request) -> Answer:
    """``experiments/create``: the decision gives the id."""
    asked = requests_experiments.parse_create_experiment(request.body)
    event = ExperimentCreated(
        name=asked.name, created_at=gateway.now_ms(), artifact_location=asked.artifact_location, tags=asked.tags
    )
    outcome = await gateway.write_experiments(event, request.sender)
    return written(outcome, render.dump({"experiment_id": str(outcome.decision.result)}))


async def get(gateway: Gateway, request: Request) -> Answer:
    """``experiments/get``: active or deleted."""
    number = requests_experiments.parse_get_experiment(request.query).experiment_id
    rows = await gateway.fetch(EXPERIMENT_PROJECTIONS, reads.experiment_query, number)
    if not rows:
        raise missing(f"No Experiment with id={number} exists")
    return Answer(render.dump({"experiment": render.experiment(rows[0])}))


async def get_by_name(gateway: Gateway, request: Request) -> Answer:
    """``experiments/get-by-name``: active or deleted; the client takes this 404 for "none"."""
    name = requests_experiments.parse_get_experiment_by_name(request.query).experiment_name
    rows = await gateway.fetch(EXPERIMENT_PROJECTIONS, reads.experiment_by_name_query, name)
    if not rows:
        raise missing(f"Could not find experiment with name '{name}'")
    return Answer(render.dump({"experiment": render.experiment(rows[0])}))


async def update(gateway: Gateway, request: Request) -> Answer:
    """``experiments/update``: another name."""
    asked = requests_experiments.parse_update_experiment(request.body)
    event = ExperimentRenamed(experiment_id=asked.experiment_id, name=asked.new_name, updated_at=gateway.now_ms())
    return await _change(gateway, event, request.sender)


async def delete(gateway: Gateway, request: Request) -> Answer:
    """``experiments/delete``: with all its runs."""
    number = requests_experiments.parse_delete_experiment(request.body).experiment_id
    return await _change(gateway, ExperimentDeleted(experiment_id=number, updated_at=gateway.now_ms()), request.sender)


async def restore(gateway: Gateway, request: Request) -> Answer:
    """``experiments/restore``: with all its runs."""
    number = requests_experiments.parse_restore_experiment(request.body).experiment_id
    return await _change(gateway, ExperimentRestored(experiment_id=number, updated_at=gateway.now_ms()), request.sender)


async def set_tag(gateway: Gateway, request: Request) -> Answer:
    """``experiments/set-experiment-tag``."""
    asked = requests_experiments.parse_set_experiment_tag(request.body)
    if asked.key.startswith(rules.CUSTOM_VIEW_PREFIX):
        # Calls at the same time may all find room for one more: the limit only keeps a page short.
        rows = await gateway.fetch(EXPERIMENT_PROJECTIONS, reads.experiment_query, asked.experiment_id)
        keys = {key for row in rows for key in row["tag_keys"] or ()}
        if asked.key not in keys:
            rules.check_custom_views({asked.key, *keys})
    event = ExperimentTagSet(experiment_id=asked.experiment_id, key=asked.key, value=asked.value)
    return await _change(gateway, event, request.sender)


async def delete_tag(gateway: Gateway, request: Request) -> Answer:
    """``experiments/delete-experiment-tag``."""
    asked = requests_experiments.parse_delete_experiment_tag(request.body)
    event = ExperimentTagDeleted(experiment_id=asked.experiment_id, key=asked.key)
    return await _change(gateway, event, request.sender)


async def _change(gateway: Gateway, event: Event, sender: Sender) -> Answer:
    return written(await gateway.write_experiments(event, sender))
