"""What the calls about experiments ask for: one value and one parse function per endpoint."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from runstream_projections.search.parse import parse_filter, parse_order
from runstream_projections.search.syntax import Order, Term
from runstream_projections.search.terms import EXPERIMENTS
from runstream_services.gateway import rules
from runstream_services.gateway.fields import Message, enum, int64, required, text

Query = Iterable[tuple[str, str]]


class CreateExperiment(msgspec.Struct, frozen=True):
    """``experiments/create``; without an artifact location the server chooses one. The last value of a tag counts."""

    name: str
    artifact_location: str | None
    tags: dict[str, str]


class GetExperiment(msgspec.Struct, frozen=True):
    """``experiments/get``."""

    experiment_id: int


class GetExperimentByName(msgspec.Struct, frozen=True):
    """``experiments/get-by-name``."""

    experiment_name: str


class SearchExperiments(msgspec.Struct, frozen=True):
    """``experiments/search``: experiments of a view (one of :data:`rules.VIEW_TYPES`), one page of them."""

    view_type: str
    max_results: int
    where: Term | None
    orders: tuple[Order, ...]
    page_token: str | None


class UpdateExperiment(msgspec.Struct, frozen=True):
    """``experiments/update``: another name."""

    experiment_id: int
    new_name: str


class DeleteExperiment(msgspec.Struct, frozen=True):
    """``experiments/delete``."""

    experiment_id: int


class RestoreExperiment(msgspec.Struct, frozen=True):
    """``experiments/restore``."""

    experiment_id: int


class SetExperimentTag(msgspec.Struct, frozen=True):
    """``experiments/set-experiment-tag``."""

    experiment_id: int
    key: str
    value: str


class DeleteExperimentTag(msgspec.Struct, frozen=True):
    """``experiments/delete-experiment-tag``."""

    experiment_id: int
    key: str


_EXPERIMENT = Message({"experiment_id": text})
_BY_NAME = Message({"experiment_name": text})
_CREATE = Message({"name": text, "artifact_location": text}, many={"tags": Message({"key": text, "value": text}).read})
_UPDATE = Message({"experiment_id": text, "new_name": text})
_TAG = Message({"experiment_id": text, "key": text, "value": text})
_SEARCH = Message(
    {"max_results": int64, "page_token": text, "filter": text, "view_type": enum(rules.VIEW_TYPES)},
    many={"order_by": text},
)


def parse_create_experiment(body: bytes) -> CreateExperiment:
    """The body of ``experiments/create``."""
    got = _CREATE.from_body(body)
    name: str = required(got, "name")
    sent = got.get("tags") or []
    rules.check_first_tags(sent)
    pairs = [(tag.get("key") or "", tag.get("value") or "") for tag in sent]
    rules.check_custom_views(key for key, _ in pairs)
    location: str | None = got.get("artifact_location") or None
    if location is not None:
        rules.check_artifact_location(location)
    rules.check_experiment_name(name)
    for at, (key, value) in enumerate(pairs):
        rules.check_experiment_tag(key, value, f"tags[{at}].key", f"tags[{at}].value")
    return CreateExperiment(name, location, dict(pairs))


def parse_get_experiment(query: Query) -> GetExperiment:
    """The query of ``experiments/get``."""
    return GetExperiment(_experiment_of(_EXPERIMENT.from_query(query)))


def parse_get_experiment_by_name(query: Query) -> GetExperimentByName:
    """The query of ``experiments/get-by-name``."""
    return GetExperimentByName(required(_BY_NAME.from_query(query), "experiment_name"))


def parse_search_experiments(body: bytes) -> SearchExperiments:
    """The body of ``experiments/search``, as MLflow's clients send it."""
    return _search_of(_SEARCH.from_body(body))


def parse_search_experiments_query(query: Query) -> SearchExperiments:
    """The query of ``experiments/search``, as MLflow's UI sends it."""
    return _search_of(_SEARCH.from_query(query))


def parse_update_experiment(body: bytes) -> UpdateExperiment:
    """The body of ``experiments/update``."""
    got = _UPDATE.from_body(body)
    experiment_id = _experiment_of(got)
    new_name: str = required(got, "new_name")
    rules.check_experiment_name(new_name, "new_name")
    return UpdateExperiment(experiment_id, new_name)


def parse_delete_experiment(body: bytes) -> DeleteExperiment:
    """The body of ``experiments/delete``."""
    return DeleteExperiment(_experiment_of(_EXPERIMENT.from_body(body)))


def parse_restore_experiment(body: bytes) -> RestoreExperiment:
    """The body of ``experiments/restore``."""
    return RestoreExperiment(_experiment_of(_EXPERIMENT.from_body(body)))


def parse_set_experiment_tag(body: bytes) -> SetExperimentTag:
    """The body of ``experiments/set-experiment-tag``."""
    got = _TAG.from_body(body)
    experiment_id = _experiment_of(got)
    key: str = required(got, "key")
    value: str = got.get("value") or ""
    rules.check_experiment_tag(key, value)
    return SetExperimentTag(experiment_id, key, value)


def parse_delete_experiment_tag(body: bytes) -> DeleteExperimentTag:
    """The body of ``experiments/delete-experiment-tag``."""
    got = _TAG.from_body(body)
    experiment_id = _experiment_of(got)
    key: str = required(got, "key")
    rules.check_length(key, rules.MAX_KEY, "key")
    return DeleteExperimentTag(experiment_id, key)


def _experiment_of(got: dict[str, Any]) -> int:
    return rules.experiment_id(required(got, "experiment_id"))


def _search_of(got: dict[str, Any]) -> SearchExperiments:
    return SearchExperiments(
        # Stock reads an unset max_results as 0 and refuses it.
        max_results=rules.search_size(got.get("max_results") or 0),
        where=parse_filter(got.get("filter") or "", EXPERIMENTS),
        orders=parse_order(got.get("order_by") or [], EXPERIMENTS),
        view_type=got.get("view_type") or "ACTIVE_ONLY",
        page_token=got.get("page_token") or None,
    )
