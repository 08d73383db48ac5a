"""What the calls about runs ask for, other than logging: one value and one parse function per endpoint."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from runstream_projections.search.parse import parse_filter, parse_order
from runstream_projections.search.syntax import Order, Term
from runstream_projections.search.terms import RUNS
from runstream_schemas.errors import invalid
from runstream_services.gateway import rules
from runstream_services.gateway.fields import Message, enum, int32, int64, required, text
from runstream_services.gateway.requests_log import run_of

Query = Iterable[tuple[str, str]]

#: The experiment that always exists; a run created without one belongs there.
DEFAULT_EXPERIMENT: Final = 0
DEFAULT_SEARCH_RESULTS: Final = 1000


class CreateRun(msgspec.Struct, frozen=True):
    """``runs/create``. ``run_name`` is the one asked for by argument or tag, None where one is to be made up.

    ``start_time`` (ms) is None where it was not sent; stock stores 0 then. ``truncated`` counts cut tag values.
    """

    experiment_id: int
    user_id: str
    start_time: int | None
    run_name: str | None
    tags: dict[str, str]
    truncated: int


class GetRun(msgspec.Struct, frozen=True):
    """``runs/get``."""

    run_id: str


class UpdateRun(msgspec.Struct, frozen=True):
    """``runs/update``: None means unchanged. ``status`` is one of :data:`rules.RUN_STATUSES`, ``end_time`` in ms."""

    run_id: str
    status: str | None
    end_time: int | None
    run_name: str | None


class DeleteRun(msgspec.Struct, frozen=True):
    """``runs/delete``."""

    run_id: str


class RestoreRun(msgspec.Struct, frozen=True):
    """``runs/restore``."""

    run_id: str


class DeleteTag(msgspec.Struct, frozen=True):
    """``runs/delete-tag``."""

    run_id: str
    key: str


class SearchRuns(msgspec.Struct, frozen=True):
    """``runs/search``. Without experiments nothing is found. ``view_type`` is one of :data:`rules.VIEW_TYPES`."""

    experiment_ids: tuple[int, ...]
    view_type: str
    max_results: int
    where: Term | None
    orders: tuple[Order, ...]
    page_token: str | None


_RUN = Message({"run_id": text})
_RUN_OR_ALIAS = Message({"run_id": text, "run_uuid": text})
_CREATE = Message(
    {"experiment_id": text, "user_id": text, "run_name": text, "start_time": int64},
    many={"tags": Message({"key": text, "value": text}).read},
)
_UPDATE = Message(
    {"run_id": text, "run_uuid": text, "status": enum(rules.RUN_STATUSES), "end_time": int64, "run_name": text}
)
_DELETE_TAG = Message({"run_id": text, "key": text})
_SEARCH = Message(
    {"filter": text, "run_view_type": enum(rules.VIEW_TYPES), "max_results": int32, "page_token": text},
    many={"experiment_ids": text, "order_by": text},
)


def parse_create_run(body: bytes) -> CreateRun:
    """The body of ``runs/create``. As in stock, a tag's key is held to its length here, not to its characters."""
    got = _CREATE.from_body(body)
    sent = got.get("tags") or []
    rules.check_first_tags(sent)
    pairs = []
    for at, tag in enumerate(sent):
        key: str = required(tag, "key", f"tags[{at}]")
        rules.check_length(key, rules.MAX_KEY, f"tags[{at}].key")
        pairs.append((key, tag.get("value") or ""))
    user_id: str = got.get("user_id") or ""
    rules.check_length(user_id, rules.MAX_USER_ID, "user_id")
    run_name = _run_name(got)
    tag_name = dict(pairs).get(rules.RUN_NAME_TAG)
    if run_name and tag_name and run_name != tag_name:
        raise invalid(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values "
            f"(run_name='{run_name[: rules.MAX_KEY]}', mlflow.runName='{tag_name[: rules.MAX_KEY]}')."
        )
    pairs, cut = rules.cut_values(pairs, rules.MAX_TAG_VALUE)
    tags = dict(pairs)
    return CreateRun(
        experiment_id=rules.experiment_id(got["experiment_id"]) if got.get("experiment_id") else DEFAULT_EXPERIMENT,
        user_id=user_id,
        start_time=got.get("start_time"),
        run_name=run_name or tags.get(rules.RUN_NAME_TAG) or None,
        tags=tags,
        truncated=cut,
    )


def parse_get_run(query: Query) -> GetRun:
    """The query of ``runs/get``."""
    return GetRun(run_of(_RUN_OR_ALIAS.from_query(query)))


def parse_update_run(body: bytes) -> UpdateRun:
    """The body of ``runs/update``."""
    got = _UPDATE.from_body(body)
    return UpdateRun(run_of(got), got.get("status"), got.get("end_time"), _run_name(got))


def parse_delete_run(body: bytes) -> DeleteRun:
    """The body of ``runs/delete``."""
    return DeleteRun(required(_RUN.from_body(body), "run_id"))


def parse_restore_run(body: bytes) -> RestoreRun:
    """The body of ``runs/restore``."""
    return RestoreRun(required(_RUN.from_body(body), "run_id"))


def parse_delete_tag(body: bytes) -> DeleteTag:
    """The body of ``runs/delete-tag``."""
    got = _DELETE_TAG.from_body(body)
    run_id: str = required(got, "run_id")
    key: str = required(got, "key")
    rules.check_length(key, rules.MAX_KEY, "key")
    return DeleteTag(run_id, key)


def parse_search_runs(body: bytes) -> SearchRuns:
    """The body of ``runs/search``."""
    got = _SEARCH.from_body(body)
    max_results = got.get("max_results")
    size = rules.search_size(DEFAULT_SEARCH_RESULTS if max_results is None else max_results)
    ids = enumerate(got.get("experiment_ids") or [])
    return SearchRuns(
        experiment_ids=tuple(dict.fromkeys(rules.experiment_id(value, f"experiment_ids[{at}]") for at, value in ids)),
        view_type=got.get("run_view_type") or "ACTIVE_ONLY",
        max_results=size,
        where=parse_filter(got.get("filter") or "", RUNS),
        orders=parse_order(got.get("order_by") or [], RUNS),
        page_token=got.get("page_token") or None,
    )


def _run_name(got: dict[str, Any]) -> str | None:
    """The run name asked for, None where it is unset or empty; it is also stored as a tag, so it has a tag's limit."""
    run_name: str | None = got.get("run_name") or None
    rules.check_length(run_name or "", rules.MAX_TAG_VALUE, "run_name")
    return run_name
