"""What an event that a client sends itself must keep to, beyond its schema, so that MLflow's API can show it again.

These are MLflow's limits (``rules.py``), applied to events. An event is stored as it was sent: what an MLflow endpoint
would mend, such as a value that is too long, is refused here. Every refusal is a 400 that names the field.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from runstream_schemas.columns import MetricColumns
from runstream_schemas.envelope import Envelope
from runstream_schemas.errors import invalid
from runstream_schemas.events import (
    RUN_EVENTS,
    Event,
    ExperimentCreated,
    ExperimentEnsured,
    ExperimentRenamed,
    ExperimentTagDeleted,
    ExperimentTagSet,
    RunCreated,
    RunInputsLogged,
    RunLogged,
    RunModelLogged,
    RunOutputsLogged,
    RunTagDeleted,
    RunUpdated,
)
from runstream_schemas.ids import run_of
from runstream_services.gateway import rules
from runstream_services.gateway.fields import refused
from runstream_services.gateway.sender import KEYED_VERSION, REQUEST_WRITER

#: Params and tags of one event together; more of them go into several events.
MAX_PAIRS: Final = 10_000

#: Datasets and models that one event names.
MAX_LINKS: Final = 1_000


def check_event(envelope: Envelope, event: Event) -> None:
    """Refuse an event that breaks a rule."""
    if envelope.actor is not None:
        raise invalid("'actor' is set by the server, from the token that the event comes with: leave it out.")
    if envelope.writer is not None and envelope.writer.startswith(REQUEST_WRITER):
        raise invalid(f"A 'writer' that begins with '{REQUEST_WRITER}' is the server's own: take another name.")
    if envelope.id.version == KEYED_VERSION:
        raise invalid("Ids of UUID version 8 are the server's own, made of Idempotency-Keys: take version 7.")
    if isinstance(event, RUN_EVENTS):
        rules.check_run_id(run_of(envelope.stream))
    check = _CHECKS.get(type(event))
    if check is not None:
        check(event)


def _check_logged(event: RunLogged) -> None:
    params, tags, metrics = event.params, event.tags, event.metrics
    if params or tags:
        if len(params) + len(tags) > MAX_PAIRS:
            raise invalid(f"An event holds at most {MAX_PAIRS} params and tags, got {len(params) + len(tags)}.")
        _check_keys(params, "params")
        _check_keys(tags, "tags")
        _check_values(params, rules.MAX_PARAM_VALUE, "params")
        _check_values(tags, rules.MAX_TAG_VALUE, "tags")
        if tags.get(rules.RUN_NAME_TAG) == "":
            raise invalid(f"Tag '{rules.RUN_NAME_TAG}' is the run's name, which cannot be empty.")
    if metrics is not None:
        _check_keys(metrics.keys, "metrics.keys")
        _check_columns(metrics)


def _check_columns(metrics: MetricColumns) -> None:
    # Where all columns are shortened, a few bytes stand for as many points as they like: as many as a log-batch's may.
    entries = max(len(metrics.keys), len(metrics.steps), len(metrics.timestamps), len(metrics.values))
    if len(metrics) > max(entries, rules.MAX_METRICS):
        raise invalid(f"The columns stand for {len(metrics)} points and hold {entries}: equal points are sent once.")
    for name, limit in (
        ("model_ids", rules.MAX_MODEL_ID),
        ("dataset_names", rules.MAX_DATASET_NAME),
        ("dataset_digests", rules.MAX_DATASET_DIGEST),
    ):
        for text in set(getattr(metrics, name) or ()):
            if text == "":
                raise refused(f"metrics.{name}", text, "a series without one has null.")
            rules.check_length(text or "", limit, f"metrics.{name}")
    names, digests = metrics.dataset_names, metrics.dataset_digests
    if names is not None or digests is not None:
        none = [None] * len(metrics.keys)
        for dataset_name, dataset_digest in zip(names or none, digests or none, strict=True):
            rules.check_dataset(dataset_name, dataset_digest, "metrics")


def _check_created(event: RunCreated) -> None:
    if (event.experiment_id is None) == (event.ensured_by is None):
        raise invalid("A run is created in one experiment: give either 'experiment_id' or 'ensured_by'.")
    _check_named(event.name, rules.MAX_TAG_VALUE)
    rules.check_length(event.user_id, rules.MAX_USER_ID, "user_id")
    rules.check_first_tags(event.tags)
    for key in event.tags:
        _check_present(key, "tags")
        rules.check_length(key, rules.MAX_KEY, "tags")
    _check_values(event.tags, rules.MAX_TAG_VALUE, "tags")
    if event.tags.get(rules.RUN_NAME_TAG, event.name) != event.name:
        raise invalid(f"'name' and the tag '{rules.RUN_NAME_TAG}' have different values: leave the tag out.")


def _check_updated(event: RunUpdated) -> None:
    if event.status is not None and event.status not in rules.RUN_STATUSES:
        raise refused("status", event.status, f"expected one of {', '.join(rules.RUN_STATUSES)}.")
    if event.name is not None:
        _check_named(event.name, rules.MAX_TAG_VALUE)


def _check_inputs(event: RunInputsLogged) -> None:
    if len(event.datasets) + len(event.models) > MAX_LINKS:
        raise invalid(f"An event names at most {MAX_LINKS} datasets and models.")
    for use in event.datasets:
        for name, limit in rules.DATASET_LIMITS.items():
            rules.check_length(getattr(use.dataset, name) or "", limit, f"datasets.{name}")
        for key, value in use.tags.items():
            rules.check_length(key, rules.MAX_INPUT_TAG_KEY, "datasets.tags")
            rules.check_length(value, rules.MAX_INPUT_TAG_VALUE, f"datasets.tags.{key}")
    for model_id in event.models:
        rules.check_length(model_id, rules.MAX_MODEL_ID, "models")


def _check_outputs(event: RunOutputsLogged) -> None:
    if len(event.models) > MAX_LINKS:
        raise invalid(f"An event names at most {MAX_LINKS} models.")
    for model in event.models:
        rules.check_length(model.model_id, rules.MAX_MODEL_ID, "models.model_id")


def _check_model(event: RunModelLogged) -> None:
    try:
        entry = json.loads(event.entry)
    except (ValueError, RecursionError):
        entry = None
    if type(entry) is not dict:
        raise refused("entry", event.entry, "expected a JSON object.")


def _check_tag_gone(event: RunTagDeleted | ExperimentTagDeleted) -> None:
    _check_present(event.key, "key")
    rules.check_length(event.key, rules.MAX_KEY, "key")


def _check_experiment(event: ExperimentCreated) -> None:
    _check_named(event.name, rules.MAX_EXPERIMENT_NAME)
    if event.artifact_location is not None:
        _check_present(event.artifact_location, "artifact_location")
        rules.check_artifact_location(event.artifact_location)
    rules.check_first_tags(event.tags)
    rules.check_custom_views(event.tags)
    for key, value in event.tags.items():
        rules.check_experiment_tag(key, value, "tags", "tags")


def _check_experiment_name(event: ExperimentEnsured | ExperimentRenamed) -> None:
    _check_named(event.name, rules.MAX_EXPERIMENT_NAME)


def _check_experiment_tag(event: ExperimentTagSet) -> None:
    rules.check_experiment_tag(event.key, event.value)


def _check_named(name: str, limit: int) -> None:
    _check_present(name, "name")
    rules.check_length(name, limit, "name")


def _check_present(text: str, path: str) -> None:
    if not text:
        raise invalid(f"'{path}' cannot be empty.")


def _check_keys(keys: Iterable[str], path: str) -> None:
    if not rules.keys_are_good(set(keys)):
        for key in keys:
            rules.check_tag_key(key, path)


def _check_values(pairs: Mapping[str, str], limit: int, path: str) -> None:
    if pairs and max(map(len, pairs.values())) > limit:
        for key, value in pairs.items():
            rules.check_length(value, limit, f"{path}.{key}")


#: What is not here (deleting and restoring) has nothing that its schema does not hold to.
_CHECKS: Final[dict[type[Event], Callable[[Any], None]]] = {
    RunLogged: _check_logged,
    RunInputsLogged: _check_inputs,
    RunOutputsLogged: _check_outputs,
    RunModelLogged: _check_model,
    RunCreated: _check_created,
    RunUpdated: _check_updated,
    RunTagDeleted: _check_tag_gone,
    ExperimentCreated: _check_experiment,
    ExperimentEnsured: _check_experiment_name,
    ExperimentRenamed: _check_experiment_name,
    ExperimentTagSet: _check_experiment_tag,
    ExperimentTagDeleted: _check_tag_gone,
}
