"""Calls that are right, and the ways to make them wrong; the tests of bad input are made of these."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

#: Stand in a call for the run and the experiment that the server has.
RUN = "$run"
EXPERIMENT = "$experiment"


class Call(NamedTuple):
    """A call that the server would take: its path below /api/2.0/mlflow, and its fields."""

    path: str
    fields: dict[str, Any]


_TAG = {"key": "k", "value": "v"}
_POINT = {
    "key": "m",
    "value": 2.5,
    "timestamp": 9,
    "step": 7,
    "model_id": "m-1",
    "dataset_name": "d",
    "dataset_digest": "1",
}
_DATASET = {"name": "d", "digest": "1", "source_type": "local", "source": "s", "schema": "{}", "profile": "{}"}
_MODEL = '{"artifact_path": "m", "flavors": {}, "utc_time_created": "", "run_id": "r"}'

POSTS = (
    Call("experiments/create", {"name": "new", "artifact_location": "mlflow-artifacts:/x", "tags": [_TAG]}),
    Call("experiments/search", {"max_results": 9, "filter": "", "order_by": [], "view_type": "ALL", "page_token": ""}),
    Call("experiments/update", {"experiment_id": EXPERIMENT, "new_name": "renamed"}),
    Call("experiments/delete", {"experiment_id": EXPERIMENT}),
    Call("experiments/restore", {"experiment_id": EXPERIMENT}),
    Call("experiments/set-experiment-tag", {"experiment_id": EXPERIMENT, **_TAG}),
    Call("experiments/delete-experiment-tag", {"experiment_id": EXPERIMENT, "key": "k"}),
    Call(
        "runs/create",
        {"experiment_id": EXPERIMENT, "user_id": "u", "start_time": 1, "run_name": "n", "tags": [_TAG]},
    ),
    Call("runs/update", {"run_id": RUN, "status": "KILLED", "end_time": 5, "run_name": "n"}),
    Call("runs/delete", {"run_id": RUN}),
    Call("runs/restore", {"run_id": RUN}),
    Call("runs/log-metric", {"run_id": RUN, **_POINT}),
    Call("runs/log-parameter", {"run_id": RUN, "key": "p", "value": "v"}),
    Call("runs/set-tag", {"run_id": RUN, **_TAG}),
    Call("runs/delete-tag", {"run_id": RUN, "key": "given"}),
    Call(
        "runs/log-batch",
        {"run_id": RUN, "metrics": [_POINT], "params": [{"key": "p", "value": "v"}], "tags": [_TAG]},
    ),
    Call(
        "runs/log-inputs",
        {"run_id": RUN, "datasets": [{"dataset": _DATASET, "tags": [_TAG]}], "models": [{"model_id": "m-1"}]},
    ),
    Call("runs/outputs", {"run_id": RUN, "models": [{"model_id": "m-1", "step": 7}]}),
    Call("runs/log-model", {"run_id": RUN, "model_json": _MODEL}),
    Call(
        "runs/search",
        {
            "experiment_ids": [EXPERIMENT],
            "filter": "",
            "run_view_type": "ALL",
            "max_results": 9,
            "order_by": [],
            "page_token": "",
        },
    ),
)

GETS = (
    Call("experiments/get", {"experiment_id": EXPERIMENT}),
    Call("experiments/get-by-name", {"experiment_name": "known"}),
    Call("experiments/search", {"max_results": "9", "view_type": "ALL"}),
    Call("runs/get", {"run_id": RUN}),
    Call("metrics/get-history", {"run_id": RUN, "metric_key": "known", "max_results": "9"}),
)

_ENUMS = frozenset({"status", "view_type", "run_view_type"})

#: Values that are wrong for every field of a kind.
_WRONG: dict[str, dict[str, Any]] = {
    "string": {
        "a number": 5,
        "true": True,
        "an array": [],
        "an object": {},
        "NUL": "a\x00b",
        "a lone surrogate": "a\udc80b",
    },
    "integer": {
        "a word": "abc",
        "nothing": "",
        "a fraction": 1.5,
        "true": True,
        "an array": [],
        "an object": {},
        "2**63": 2**63,
        "-2**63 - 1": str(-(2**63) - 1),
        "underscores": "1_000",
        "Arabic digits": "٣",
        "NaN": "NaN",
    },
    "double": {
        "a word": "abc",
        "nothing": "",
        "an array": [],
        "an object": {},
        "underscores": "1_000",
        "too large": "1e400",
        "hexadecimal": "0x1p3",
    },
    "enum": {
        "a word": "NOPE",
        "an unknown number": 99,
        "a fraction": 1.5,
        "true": True,
        "an array": [],
        "an object": {},
    },
    "object": {"a word": "abc", "a number": 5, "an array": []},
    "array": {"a word": "abc", "a number": 5, "an object": {}, "null within": [None], "numbers": [5]},
}


class Wrong(NamedTuple):
    """A call with one field that is wrong, called ``what``; the answer must name ``field``."""

    path: str
    fields: dict[str, Any]
    field: str
    what: str

    def __str__(self) -> str:
        return f"{self.path} {self.field}: {self.what}"


def wrong_types() -> Iterator[Wrong]:
    """Each field of each call, with each value that is wrong for its kind."""
    for call in POSTS:
        for path in _places(call.fields):
            kind = _kind(path[-1], _at(call.fields, path))
            for what, value in _WRONG[kind].items():
                fields = copy.deepcopy(call.fields)
                _at(fields, path[:-1])[path[-1]] = value
                yield Wrong(call.path, fields, dotted(path), what)


def changed(path: str, calls: Iterable[Call] = POSTS, /, **changes: Any) -> dict[str, Any]:
    """The fields of the right call of an endpoint, changed; what is changed to ``...`` is left out."""
    fields = {**next(call.fields for call in calls if call.path == path), **changes}
    return {name: value for name, value in fields.items() if value is not ...}


def dotted(path: tuple[str | int, ...]) -> str:
    """A place within a message as the answers spell it: ``metrics[0].key``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def as_json(value: object) -> bytes:
    """A body; lone surrogates are escaped in it."""
    return json.dumps(value).encode()


def _places(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every field of a message, however deep."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in steps:
        if isinstance(step, str):
            yield (*at, step)
        yield from _places(inner, (*at, step))


def _at(value: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def _kind(name: str | int, value: object) -> str:
    if name in _ENUMS:
        return "enum"
    return {str: "string", int: "integer", float: "double", list: "array", dict: "object"}[type(value)]
