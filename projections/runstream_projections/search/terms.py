"""Which fields a filter of runs or experiments can name, and what each can be compared with (MLflow's rules)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

NUMERIC_OPERATORS: Final = ("=", "!=", ">", ">=", "<", "<=")
_TEXT_OPERATORS: Final = ("=", "!=", "LIKE", "ILIKE")
_LISTS: Final = ("IN", "NOT IN")
_PRESENCE: Final = ("IS NULL", "IS NOT NULL")


class Kind(NamedTuple):
    """What a field holds, and the operators that take it; ``id`` is an integer that is written as a text."""

    holds: Literal["number", "integer", "text", "id"]
    operators: tuple[str, ...]


NUMBER: Final = Kind("number", NUMERIC_OPERATORS)
INTEGER: Final = Kind("integer", NUMERIC_OPERATORS)
TEXT: Final = Kind("text", _TEXT_OPERATORS)
TEXT_OR_LIST: Final = Kind("text", (*_TEXT_OPERATORS, *_LISTS))
ID: Final = Kind("id", ("=", "!=", *_LISTS))
TEXT_OR_NOTHING: Final = Kind("text", (*_TEXT_OPERATORS, *_LISTS, *_PRESENCE))


class Entity(NamedTuple):
    """An entity: its fields by key, or the kind of all of them where keys are the user's own."""

    name: str
    fields: Mapping[str, Kind] | Kind
    aliases: Mapping[str, str] = {}


class Dialect(NamedTuple):
    """What a filter can speak of: entities by every name that they have; a bare key is a key of ``attribute``.

    ``ordered`` are the entities that results can be ordered by, ``repeats`` whether a field may be given again there
    (it orders nothing more). LIKE and ILIKE may be in lower case where ``keywords_in_any_case``.
    """

    entities: Mapping[str, Entity]
    ordered: tuple[str, ...]
    repeats: bool
    keywords_in_any_case: bool


_RUN_ALIASES: Final = {
    "created": "start_time",
    "Created": "start_time",
    "run name": "run_name",
    "Run name": "run_name",
    "Run Name": "run_name",
}
_RUN: Final = Entity(
    "attribute",
    {
        "run_id": TEXT_OR_LIST,
        "run_name": TEXT,
        "user_id": TEXT,
        "status": TEXT,
        "artifact_uri": TEXT,
        "start_time": NUMBER,
        "end_time": NUMBER,
    },
    _RUN_ALIASES,
)
_DATASET: Final = Entity("dataset", dict.fromkeys(("name", "digest", "context"), TEXT_OR_LIST))
_METRIC, _PARAM, _TAG = Entity("metric", NUMBER), Entity("parameter", TEXT_OR_NOTHING), Entity("tag", TEXT_OR_NOTHING)

RUNS: Final = Dialect(
    {
        **dict.fromkeys(("metric", "metrics"), _METRIC),
        **dict.fromkeys(("parameter", "parameters", "param", "params"), _PARAM),
        **dict.fromkeys(("tag", "tags"), _TAG),
        **dict.fromkeys(("attribute", "attributes", "attr", "run"), _RUN),
        **dict.fromkeys(("dataset", "datasets"), _DATASET),
    },
    ordered=("attribute", "metric", "parameter", "tag"),
    repeats=False,
    keywords_in_any_case=True,
)

_EXPERIMENT: Final = Entity(
    "attribute", {"name": TEXT, "experiment_id": ID, "creation_time": INTEGER, "last_update_time": INTEGER}
)
_EXPERIMENT_TAG: Final = Entity("tag", Kind("text", (*_TEXT_OPERATORS, *_PRESENCE)))
EXPERIMENTS: Final = Dialect(
    {"attribute": _EXPERIMENT, "tag": _EXPERIMENT_TAG, "tags": _EXPERIMENT_TAG},
    ordered=("attribute",),
    repeats=True,
    keywords_in_any_case=False,
)
