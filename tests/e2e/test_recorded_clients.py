"""The calls of MLflow's Java and R clients, in the shapes in which they send them, get answers that they can read.

``recorded/`` has the calls in order, and the shape of each answer: ``text``, ``integer``, ``double`` (a number, or one
of the three strings for what JSON has no number for), an array of at least one of something, and objects with just
these fields. Java's client prints 64-bit integers as strings; R's sends every value as a string.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.server import Server

RECORDED: Final = Path(__file__).parent / "recorded"

#: Fields of answers that come again and again; a question mark says that a field may be missing.
COMMON: Final[dict[str, dict[str, Any]]] = {
    "$experiment": {
        "experiment_id": "text", "name": "text", "artifact_location": "text", "lifecycle_stage": "text",
        "creation_time": "integer", "last_update_time": "integer", "tags?": [{"key": "text", "value": "text"}],
    },
    "$info": {
        "run_id": "text", "run_uuid": "text", "run_name": "text", "experiment_id": "text", "user_id": "text",
        "status": "text", "start_time": "integer", "end_time?": "integer", "artifact_uri": "text",
        "lifecycle_stage": "text",
    },
}  # fmt: skip


@pytest.mark.parametrize("client", ["java", "r"])
def test_the_recorded_calls_of_other_clients_get_answers_that_they_can_read(
    standing_server: Server, client: str
) -> None:
    recorded = json.loads((RECORDED / f"{client}.json").read_text())
    known = {"$name": f"by {client}"}
    with httpx.Client(base_url=f"{standing_server.url}/api/2.0/mlflow/", timeout=60) as http:
        http.headers.update(recorded["headers"])
        for call in recorded["calls"]:
            answer = sent(http, call, known)
            assert answer.status_code == call.get("status", 200), (call, answer.text)
            body = answer.json()
            if "code" in call:
                assert body["error_code"] == call["code"], call
                continue
            assert misshapen(body, call["answer"]) is None, (call, body)
            if call.get("post") == "experiments/create":
                known["$experiment"] = body["experiment_id"]
            elif call.get("post") == "runs/create":
                known["$run"] = body["run"]["info"]["run_uuid"]


def sent(http: httpx.Client, call: dict[str, Any], known: dict[str, str]) -> httpx.Response:
    """Send one call, with ids for the words that stand for them."""
    text = json.dumps(call.get("body") or call.get("query"), indent=2)
    for word, value in known.items():
        text = text.replace(word, value)
    if "get" in call:
        return http.get(call["get"], params=json.loads(text))
    return http.post(call["post"], content=text, headers={"Content-Type": "application/json"})


def misshapen(value: Any, shape: Any, path: str = "") -> str | None:
    """Where ``value`` has another shape, None where it has this one."""
    if isinstance(shape, dict):
        shape = next((COMMON[name] for name in shape if name in COMMON), shape)
        fields = {name.removesuffix("?"): inner for name, inner in shape.items()}
        needed = {name for name in shape if not name.endswith("?")}
        if not isinstance(value, dict) or not needed <= set(value) <= set(fields):
            return path or "all of it"
        found = [misshapen(item, fields[name], f"{path}.{name}") for name, item in value.items()]
    elif isinstance(shape, list):
        if not isinstance(value, list) or not value:
            return path
        found = [misshapen(item, shape[0], f"{path}[{at}]") for at, item in enumerate(value)]
    else:
        return None if has_kind(value, shape) else path
    return next((where for where in found if where is not None), None)


def has_kind(value: Any, kind: str) -> bool:
    """Whether a leaf of an answer is of a kind."""
    if kind == "text":
        return isinstance(value, str)
    if kind == "integer":
        return type(value) is int
    return type(value) is float or value in ("NaN", "Infinity", "-Infinity")
