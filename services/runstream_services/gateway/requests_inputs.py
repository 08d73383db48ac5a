"""What the calls about datasets and models of runs ask for: one value and one parse function per endpoint.

Fields of a dataset that are not sent are empty, as in stock, which does not ask for any.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from runstream_schemas.errors import RequestError, invalid
from runstream_schemas.events import Dataset, DatasetInput, ModelOutput
from runstream_services.gateway import rules
from runstream_services.gateway.fields import Message, int64, loaded, required, text

#: What a model must say of itself.
MODEL_FIELDS: Final = ("artifact_path", "flavors", "utc_time_created", "run_id")

_SHOWN_CHARACTERS: Final = 250


class LogInputs(msgspec.Struct, frozen=True):
    """``runs/log-inputs``; ``models`` are model ids."""

    run_id: str
    datasets: list[DatasetInput]
    models: list[str]


class LogOutputs(msgspec.Struct, frozen=True):
    """``runs/outputs``."""

    run_id: str
    models: list[ModelOutput]


class LogModel(msgspec.Struct, frozen=True):
    """``runs/log-model``; ``entry`` is the model as the run's history lists it."""

    run_id: str
    entry: str


class SearchDatasets(msgspec.Struct, frozen=True):
    """``experiments/search-datasets``."""

    experiment_ids: list[int]


_DATASET: Final = Message(
    {"name": text, "digest": text, "source_type": text, "source": text, "schema": text, "profile": text}
)
_DATASET_INPUT: Final = Message({"dataset": _DATASET.read}, many={"tags": Message({"key": text, "value": text}).read})
_LOG_INPUTS: Final = Message(
    {"run_id": text}, many={"datasets": _DATASET_INPUT.read, "models": Message({"model_id": text}).read}
)
_LOG_OUTPUTS: Final = Message({"run_id": text}, many={"models": Message({"model_id": text, "step": int64}).read})
_LOG_MODEL: Final = Message({"run_id": text, "model_json": text})
_SEARCH_DATASETS: Final = Message({}, many={"experiment_ids": text})


def parse_log_inputs(body: bytes) -> LogInputs:
    """The body of ``runs/log-inputs``."""
    got = _LOG_INPUTS.from_body(body)
    run_id: str = required(got, "run_id")
    rules.check_run_id(run_id)
    datasets = [_dataset_input(use, f"datasets[{at}]") for at, use in enumerate(got.get("datasets") or [])]
    models = [_model_id(model, f"models[{at}]") for at, model in enumerate(got.get("models") or [])]
    return LogInputs(run_id, datasets, models)


def _dataset_input(use: dict[str, Any], path: str) -> DatasetInput:
    sent: dict[str, Any] = use.get("dataset") or {}
    for name, limit in rules.DATASET_LIMITS.items():
        rules.check_length(sent.get(name) or "", limit, f"{path}.dataset.{name}", called=name)
    tags: dict[str, str] = {}
    for at, tag in enumerate(use.get("tags") or []):
        key, value = tag.get("key") or "", tag.get("value") or ""
        rules.check_length(key, rules.MAX_INPUT_TAG_KEY, f"{path}.tags[{at}].key", called="key")
        rules.check_length(value, rules.MAX_INPUT_TAG_VALUE, f"{path}.tags[{at}].value", called="value")
        if key in tags:
            raise RequestError("BAD_REQUEST", f"The tag '{key}' is given twice ({path}.tags[{at}]).")
        tags[key] = value
    name, digest, source_type, source = (sent.get(field) or "" for field in ("name", "digest", "source_type", "source"))
    dataset = Dataset(name, digest, source_type, source, sent.get("schema") or None, sent.get("profile") or None)
    return DatasetInput(dataset, tags)


def _model_id(model: dict[str, Any], path: str) -> str:
    model_id: str = model.get("model_id") or ""
    rules.check_length(model_id, rules.MAX_MODEL_ID, f"{path}.model_id")
    return model_id


def parse_log_outputs(body: bytes) -> LogOutputs:
    """The body of ``runs/outputs``."""
    got = _LOG_OUTPUTS.from_body(body)
    run_id: str = required(got, "run_id")
    models = [
        ModelOutput(_model_id(model, f"models[{at}]"), model.get("step") or 0)
        for at, model in enumerate(required(got, "models"))
    ]
    return LogOutputs(run_id, models)


def parse_log_model(body: bytes, now_ms: int) -> LogModel:
    """The body of ``runs/log-model``; ``now_ms`` is the time of a model that does not say when it was made."""
    got = _LOG_MODEL.from_body(body)
    run_id: str = required(got, "run_id")
    model_json: str = required(got, "model_json")
    try:
        model = loaded(model_json)
        entry = _entry(model, now_ms)
    except RecursionError:
        raise invalid("Malformed model info: 'model_json' is nested too deeply.") from None
    except ValueError as error:
        raise invalid(
            f"Malformed model info. \n {model_json[:_SHOWN_CHARACTERS]} \n is not a valid JSON (model_json): {error}."
        ) from None
    return LogModel(run_id, entry)


def _entry(model: Any, now_ms: int) -> str:
    """What stock keeps of a model (mlflow.models.Model.get_tags_dict), in its order and its spelling."""
    if type(model) is not dict:
        raise invalid("Malformed model info: 'model_json' must hold a JSON object.")
    missing = [name for name in MODEL_FIELDS if name not in model]
    if missing:
        raise invalid(f"Model json is missing mandatory fields: {missing}")
    flavors = model["flavors"] or {}
    if type(flavors) is not dict:
        raise invalid("Malformed model info: the 'flavors' of a model must be a JSON object.")
    entry = {name: model[name] for name in ("run_id", "artifact_path") if model[name] is not None}
    made = model["utc_time_created"] or datetime.fromtimestamp(now_ms / 1000, UTC).replace(tzinfo=None)
    entry["utc_time_created"] = str(made)
    entry["model_uuid"] = model.get("model_uuid")
    entry["flavors"] = {name: _without_config(flavor) for name, flavor in flavors.items()}
    return json.dumps(entry)


def _without_config(flavor: Any) -> Any:
    return {key: value for key, value in flavor.items() if key != "config"} if type(flavor) is dict else flavor


def parse_search_datasets(body: bytes) -> SearchDatasets:
    """The body of ``experiments/search-datasets``."""
    sent: list[str] = _SEARCH_DATASETS.from_body(body).get("experiment_ids") or []
    if not sent:
        raise invalid("SearchDatasets request must specify at least one experiment_id.")
    if len(sent) > rules.MAX_DATASET_EXPERIMENTS:
        raise invalid(
            f"SearchDatasets request cannot specify more than {rules.MAX_DATASET_EXPERIMENTS} experiment_ids. "
            f"Received {len(sent)} experiment_ids."
        )
    return SearchDatasets([rules.experiment_id(value, f"experiment_ids[{at}]") for at, value in enumerate(sent)])
