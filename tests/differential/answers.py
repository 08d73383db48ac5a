"""Answers of two servers made comparable: ids by order of creation, server's times by the call that set them, lists
whose order nobody promises sorted."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from itertools import groupby
from typing import Any, Final

from mlflow.utils.search_utils import SearchUtils

from tests.differential.calls import Call
from tests.differential.servers import Answer, Server

#: What stock stores for the infinities.
_LARGEST: Final = 1.7976931348623157e308

_RUN_ID: Final = re.compile(r"\b[0-9a-f]{32}\b")
_ROOT: Final = re.compile(r"^mlflow-artifacts:/(\d+)(?=/|$)")


def comparable(server: Server, call: Call, fields: dict[str, Any], answer: Answer) -> str:
    """The body of a 200 as text; equal texts mean equal answers. ``fields`` is what was sent to this server."""
    body = answer.body
    if isinstance(body, dict):
        body = dict(body)
        if call.path == "experiments/search":
            found = [found for found in body.get("experiments", ()) if _is_common(server, found["experiment_id"])]
            body = {"experiments": found}
        if "runs" in body:
            for run in body["runs"]:
                run["inputs"].pop("model_inputs", None)  # stock shows them in runs/get alone
            body["runs"] = _ties_sorted(server, fields, body["runs"])
        if isinstance(body.get("metrics"), list):
            body["metrics"] = _history(server, body["metrics"])
        if "dataset_summaries" in body:
            body["dataset_summaries"] = _sorted(_plain(server, body["dataset_summaries"]))
    plain = _plain(server, body)
    if call.path == "runs/create" and "run" in plain and not fields.get("start_time"):
        plain["run"]["info"]["start_time"] = "the server's"
    if call.path == "runs/create" and "run" in plain and _is_made_up(fields):
        plain["run"]["info"]["run_name"] = "made up"
        for tag in plain["run"]["data"]["tags"]:
            tag["value"] = "made up" if tag["key"] == "mlflow.runName" else tag["value"]
    pages = () if call.path == "experiments/search" else answer.pages
    return json.dumps([plain, pages], sort_keys=True, indent=1, ensure_ascii=False)


def _is_common(server: Server, experiment_id: str) -> bool:
    """Whether both servers have it, and the same in it."""
    return (server.named("experiment", experiment_id) or "experiment victim") != "experiment victim"


def _is_made_up(fields: dict[str, Any]) -> bool:
    return not (fields.get("run_name") or fields.get("runName"))


def _plain(server: Server, value: Any, name: str = "", *, within: str = "") -> Any:
    """``value`` with names for ids, and sorted where it is in no promised order."""
    if isinstance(value, dict):
        return {key: _plain(server, item, key, within=name) for key, item in value.items() if key != "workspace"}
    if isinstance(value, list):
        items = [_plain(server, item, name, within=within) for item in value]
        return _sorted(items) if within or name in _UNORDERED else items
    reader = _READERS.get(name)
    return value if reader is None else reader(server, value)


def _sorted(items: list[Any]) -> list[Any]:
    return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))


def _value(server: Server, value: Any) -> Any:
    found = _number(value)
    return _RUN_ID.sub(lambda match: _run(server, match[0]), found) if isinstance(found, str) else found


def _number(value: Any) -> Any:
    """A metric's value, the infinities as stock has them."""
    if value in ("Infinity", math.inf):
        return _LARGEST
    if value in ("-Infinity", -math.inf):
        return -_LARGEST
    return "NaN" if value != value else value  # noqa: PLR0124


def _run(server: Server, value: str) -> str:
    return server.named("run", value) or value


def _experiment(server: Server, value: str) -> str:
    return server.named("experiment", value) or value


def _address(server: Server, value: str) -> str:
    named = _ROOT.sub(lambda found: f"mlflow-artifacts:/{_experiment(server, found[1])}", value)
    return _RUN_ID.sub(lambda found: _run(server, found[0]), named)


def _moment(server: Server, value: int) -> str:
    return f"during call {server.call_at(value)}"


_UNORDERED: Final = frozenset({"tags"})
_READERS: Final[dict[str, Callable[[Server, Any], Any]]] = {
    "value": _value,
    "run_id": _run,
    "run_uuid": _run,
    "experiment_id": _experiment,
    "artifact_uri": _address,
    "artifact_location": _address,
    "creation_time": _moment,
    "last_update_time": _moment,
}


def _history(server: Server, points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Points of histories; those of several runs by run, and NaN last among those of one timestamp and step."""
    found = [{**point, "value": _number(point["value"])} for point in points]
    if any("run_id" in point for point in found):
        found.sort(key=lambda point: _run(server, point["run_id"]))
    parts = groupby(found, key=lambda point: (point.get("run_id"), point["timestamp"], point["step"]))
    return [point for _, part in parts for point in sorted(part, key=lambda point: point["value"] == "NaN")]


def _ties_sorted(server: Server, fields: dict[str, Any], runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs of a search, those that tie by name: servers order them by id, and ids are random."""
    orders = [
        SearchUtils.parse_order_by_for_search_runs(clause)
        for clause in fields.get("order_by") or fields.get("orderBy") or []
    ]
    keys = [(kind, SearchUtils.translate_key_alias(key)) for kind, key, _ in orders]
    for at, (kind, key) in enumerate(keys):
        if kind == "attribute" and key in ("run_id", "artifact_uri"):
            keys = keys[:at]
            break
    else:
        keys.append(("attribute", "start_time"))
        _check_ties(runs, keys)
    tied = groupby(runs, key=lambda run: [_key_of(run, *key) for key in keys])
    return [run for _, part in tied for run in sorted(part, key=lambda run: _run(server, run["info"]["run_id"]))]


def _check_ties(runs: list[dict[str, Any]], keys: list[tuple[str, str]]) -> None:
    for _, part in groupby(runs, key=lambda run: [_key_of(run, *key) for key in keys]):
        ids = [run["info"]["run_id"] for run in part]
        assert ids == sorted(ids), f"runs that tie in {keys} are not ordered by id: {ids}"


def _key_of(run: dict[str, Any], kind: str, key: str) -> Any:
    if kind == "attribute":
        return run["info"].get(key)
    entries = run["data"].get({"metric": "metrics", "parameter": "params", "tag": "tags"}[kind], ())
    found = [entry["value"] for entry in entries if entry["key"] == key]
    return _number(found[0]) if kind == "metric" and found else found
