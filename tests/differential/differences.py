"""Where Runstream answers otherwise than stock MLflow on purpose: each difference, where it holds, and why.

``docs/mlflow-compatibility.md`` has the same table; ``test_page.py`` holds it to this one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from tests.differential import oracle
from tests.differential.calls import Call
from tests.differential.servers import Answer

REFUSED: Final = "400 INVALID_PARAMETER_VALUE"


class Case(NamedTuple):
    """A call with its marks filled in."""

    call: Call
    fields: dict[str, Any]

    @property
    def path(self) -> str:
        """Of the call."""
        return self.call.path


class Difference(NamedTuple):
    """One difference, told as the page tells it.

    Where it ``applies`` to a call, ``outcomes`` are the pairs of outcomes (stock's, ours) that it explains, where ``*``
    is any. ``splits``: one server may have done what the other refused, so that no other call may look at what was
    meant.
    """

    stock: str
    here: str
    why: str
    applies: Callable[[Case], bool]
    outcomes: tuple[tuple[str, str], ...]
    splits: bool = True

    def explains(self, case: Case, stock: Answer, ours: Answer) -> bool:
        """Whether the two may answer ``case`` like this."""
        return self.applies(case) and any(
            theirs in ("*", stock.outcome, f"{stock.status // 100}xx") and here in ("*", ours.outcome)
            for theirs, here in self.outcomes
        )


def splits(case: Case) -> bool:
    """Whether the servers may have done different things after this call."""
    return any(difference.splits and difference.applies(case) for difference in DIFFERENCES)


def _objects(case: Case, name: str) -> list[dict[str, Any]]:
    """The objects in an array of the call, as far as it is one."""
    items = case.fields.get(name)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _tags_twice(case: Case) -> bool:
    keys = [str(tag.get("key")) for tag in _objects(case, "tags")]
    return case.path in ("experiments/create", "runs/create") and len(keys) > len(set(keys))


def _long(case: Case, limits: dict[str, int]) -> bool:
    return any(len(str(case.fields.get(name) or "")) > limit for name, limit in limits.items())


def _run_name(case: Case) -> str:
    name = case.fields.get("run_name") or case.fields.get("runName")
    return name if isinstance(name, str) else ""


def _has_a_model_twice(case: Case) -> bool:
    ids = [str(model.get("model_id")) for model in _objects(case, "models")]
    return len(ids) > len(set(ids))


def _has_a_strange_enum(case: Case) -> bool:
    values = [(case.fields.get(name), known) for name, known in _ENUMS.items()]
    return any(
        value is True or isinstance(value, float) or (isinstance(value, str) and value not in known)
        for value, known in values
    )


def _is_drawn(what: str) -> Callable[[Case], bool]:
    return lambda case: what in case.call.drawn


_VIEWS: Final = {"ACTIVE_ONLY", "DELETED_ONLY", "ALL", "1", "2", "3"}
_STATUSES: Final = {"RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED", *"12345"}
_ENUMS: Final = {"status": _STATUSES, "view_type": _VIEWS, "run_view_type": _VIEWS}

#: As wide as stock's columns.
_MAX_INTEGER: Final = 2**31 - 1
_MAX_RUN_NAME: Final = 250

#: Endpoints where stock answers 500 to what can never succeed.
_NEVER: Final = ("experiments/update", "runs/log-model", "metrics/get-history-bulk")

DIFFERENCES: Final = (
    Difference(
        "A body that does not parse is applied as far as it parses, and answered 200 or by what is missing then.",
        "400 that names the field; nothing is stored.",
        "Silent loss.",
        lambda case: not oracle.parses(case.call.method, case.path, case.fields),
        (("*", REFUSED),),
    ),
    Difference(
        "A body that is no JSON counts as `{}`; an array is a 500.",
        "400.",
        "Silent loss.",
        lambda case: case.call.shape in ("broken", "an array"),
        (("*", REFUSED),),
    ),
    Difference(
        "NUL characters and lone surrogates reach the database, which fails with a 500.",
        "400 that names the field.",
        "The client retries a 500 for four minutes.",
        lambda case: oracle.is_unstorable(case.fields),
        (("*", REFUSED),),
    ),
    Difference(
        "Numbers and experiment ids may be spelled as only Python reads them: `1_000`, blanks, Arabic digits.",
        "400 that names the field.",
        "No other client means a number by it.",
        lambda case: oracle.has_a_python_number(case.fields),
        (("*", REFUSED),),
    ),
    Difference(
        "An unknown name of an enum counts as unset, `true` and 1.5 as the number 1.",
        "400.",
        "Who misspells `DELETED_ONLY` should not get active runs.",
        _has_a_strange_enum,
        (("*", REFUSED),),
    ),
    Difference(
        'An empty array counts as an empty object: `"models": [[]]`.',
        "400 that names the field.",
        "It is none.",
        lambda case: any(value == [[]] for value in case.fields.values()),
        (("*", REFUSED),),
    ),
    Difference(
        "A required field must be spelled in snake case.",
        "`runId` is read like `run_id`, as it is everywhere else.",
        "One rule.",
        _is_drawn("spelling camelCase"),
        ((REFUSED, "*"),),
    ),
    Difference(
        "A null in place of an array of `log-batch`, or of `max_results` of `runs/search`, is a 500.",
        "It is unset, as it is everywhere else.",
        "One rule.",
        lambda case: "spelling null" in case.call.drawn and case.path in ("runs/log-batch", "runs/search"),
        (("5xx", "*"),),
    ),
    Difference(
        "On PostgreSQL, `runs/create` without an experiment is a 400 `BAD_REQUEST`.",
        "The run is in experiment 0, as with stock on SQLite.",
        "MLflow's documentation says so.",
        lambda case: case.path == "runs/create" and not case.fields.get("experiment_id"),
        (("400 BAD_REQUEST", "*"),),
        splits=False,
    ),
    Difference(
        "In `runs/create` a tag key over 250 characters is a 400 `BAD_REQUEST` with PostgreSQL's message.",
        "400 `INVALID_PARAMETER_VALUE`, as it is everywhere else.",
        "One rule.",
        lambda case: case.path == "runs/create",
        (("400 BAD_REQUEST", REFUSED),),
        splits=False,
    ),
    Difference(
        "`runs/create` takes tags without a key.",
        "400, as it is everywhere else.",
        "One rule.",
        lambda case: case.path == "runs/create" and any(not tag.get("key") for tag in _objects(case, "tags")),
        (("200", REFUSED),),
    ),
    Difference(
        "An experiment id over 2147483647 is a 400 `BAD_REQUEST`.",
        "404, as for any other that is not there; 400 `INVALID_PARAMETER_VALUE` above 64 bits.",
        "One rule.",
        lambda case: (
            str(case.fields.get("experiment_id")).isdecimal()
            and int(str(case.fields.get("experiment_id"))) > _MAX_INTEGER
        ),
        (("400 BAD_REQUEST", "404 RESOURCE_DOES_NOT_EXIST"), ("400 BAD_REQUEST", REFUSED)),
        splits=False,
    ),
    Difference(
        "A run's name over 250 characters is a 400 `BAD_REQUEST` on PostgreSQL, and stored on SQLite.",
        "It may be as long as the tag that it is stored as: 8,000 characters.",
        "One rule.",
        lambda case: len(_run_name(case)) > _MAX_RUN_NAME,
        (("400 BAD_REQUEST", "200"),),
    ),
    Difference(
        "A tag key twice in `experiments/create` is a 400 `RESOURCE_ALREADY_EXISTS`, in `runs/create` `BAD_REQUEST`.",
        "The last value counts, as in `log-batch`.",
        "No such experiment exists.",
        _tags_twice,
        (("400 RESOURCE_ALREADY_EXISTS", "200"), ("400 BAD_REQUEST", "200")),
    ),
    Difference(
        "A metric's dataset name and digest may be longer than any dataset's.",
        "400 above 500 and 36 characters.",
        "Memory is bounded.",
        lambda case: _long(case, {"dataset_name": 500, "dataset_digest": 36}),
        (("200", REFUSED),),
    ),
    Difference(
        "Page tokens are offsets, and so may be made by anybody; writes shift pages.",
        "They name what the page ended with; 400 for any that was not given by this search.",
        "No run is skipped or repeated.",
        lambda case: bool(case.fields.get("page_token") or case.fields.get("pageToken")),
        (("200", REFUSED), ("5xx", REFUSED)),
        splits=False,
    ),
    Difference(
        "`runs/outputs` for a model that the run has already is a 400 `BAD_REQUEST`.",
        "200, and the first step stays.",
        "A client's retry fails otherwise, and `log_model` with it.",
        lambda case: case.path == "runs/outputs" and _has_a_model_twice(case),
        (("400 BAD_REQUEST", "200"),),
    ),
    Difference(
        "An `order_by` does not know `Run Name`, which a filter takes for `run_name`.",
        "Both take it.",
        "One rule.",
        lambda case: "Run Name" in str(case.fields.get("order_by") or case.fields.get("orderBy")),
        ((REFUSED, "200"),),
        splits=False,
    ),
    Difference(
        "A filter may end in AND.",
        "400.",
        "A clause is missing.",
        lambda case: re.search(r"\bAND\s*$", str(case.fields.get("filter"))) is not None,
        (("200", REFUSED),),
        splits=False,
    ),
    Difference(
        "Strings side by side in a list of a filter are one, as in Python: `run_id IN ('a' 'b')`.",
        "400.",
        "A comma is missing.",
        lambda case: "('a' 'b')" in str(case.fields.get("filter")),
        (("200", REFUSED),),
        splits=False,
    ),
    Difference(
        "A filter of experiments takes a tag without a key, which no tag has.",
        "400, as in a filter of runs.",
        "It is a slip.",
        lambda case: case.fields.get("filter") == "tags. = 'x'",
        (("200", REFUSED),),
        splits=False,
    ),
    Difference(
        "`runs/create` answers the experiment's id as it was sent: `00`.",
        "`0`.",
        "It is the experiment's id.",
        lambda case: case.path == "runs/create" and case.fields.get("experiment_id") in ("00", "+0"),
        (("200", "200"),),
        splits=False,
    ),
    Difference(
        "What can never succeed may be a 500: an `order_by` that names nothing, a `model_json` that is no object, "
        "another name for a deleted experiment.",
        "400.",
        "The client retries a 500 for four minutes.",
        lambda case: "wrong order" in case.call.drawn or case.path in _NEVER,
        (("5xx", REFUSED),),
        splits=False,
    ),
    Difference(
        "A filter of runs has neither OR, NOT nor parentheses, and IN for run ids and datasets only.",
        "They are understood, and IN for params and tags.",
        "An extension.",
        _is_drawn("wrong extension"),
        ((REFUSED, "200"),),
        splits=False,
    ),
)
