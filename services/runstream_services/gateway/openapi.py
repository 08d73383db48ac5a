"""The native API described as an OpenAPI 3.1 document; its schemas are those of the types that are decoded and sent."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import msgspec

from runstream import __version__
from runstream_schemas.answers import BatchResult, Problem, Reached
from runstream_schemas.envelope import Envelope
from runstream_schemas.events import EVENT_TYPES
from runstream_schemas.status import Status
from runstream_services.gateway.fields import INT64_MIN
from runstream_services.gateway.http import Answer, Request
from runstream_services.gateway.metric_columns import MetricHistories
from runstream_services.gateway.positions import MAX_TIMEOUT_MS, WAIT_POSITION
from runstream_services.gateway.requests_events import MAX_EVENTS
from runstream_services.gateway.service import Gateway

PREFIX: Final = "/api/runstream/v1"

Json = dict[str, Any]


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _answer(what: str, schema: Json) -> Json:
    return {"description": what, "content": {"application/json": {"schema": schema}}}


def _parameter(name: str, what: str, *, where: str = "query", required: bool = False, **schema: Any) -> Json:
    limits = {"type": "integer", "minimum": 0, **schema}
    return {"name": name, "in": where, "description": what, "required": required, "schema": limits}


def _operation(summary: str, description: str, answers: Json, *parameters: Json, body: Json | None = None) -> Json:
    refusals = {"400": _answer("The request is wrong, in the way that `message` says.", _ref("Problem"))}
    operation: Json = {"summary": summary, "description": description, "responses": answers | refusals}
    if parameters:
        operation["parameters"] = list(parameters)
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


_BATCH: Final[Json] = {
    "type": "object",
    "required": ["events"],
    "additionalProperties": False,
    "properties": {"events": {"type": "array", "maxItems": MAX_EVENTS, "items": _ref("Envelope")}},
}

_HISTORY: Final = (
    "Points as columns, whole or sampled so that first, last, least and greatest points stay; as JSON, or as an Arrow "
    "stream where `Accept` is `application/vnd.apache.arrow.stream`."
)
_HISTORIES: Final[Json] = {"200": _answer("The points, series by series.", _ref("MetricHistories"))}
_HISTORY_PARAMETERS: Final = (
    _parameter("run_ids", "A run; may be repeated.", required=True, type="string"),
    _parameter("keys", "A metric; may be repeated.", required=True, type="string"),
    _parameter("start_step", "The least step, with `end_step`.", minimum=INT64_MIN),
    _parameter("end_step", "The greatest step, with `start_step`.", minimum=INT64_MIN),
    _parameter("max_points", "Sample each series to about so many points.", minimum=1),
)

_HISTORY_BODY: Final[Json] = {
    "type": "object",
    "required": ["run_ids", "keys"],
    "properties": {
        parameter["name"]: {"type": "array", "items": {"type": "string"}}
        if parameter["required"]
        else parameter["schema"]
        for parameter in _HISTORY_PARAMETERS
    },
}

#: By method and path below :data:`PREFIX`: every one that ``app.py`` lists.
OPERATIONS: Final[dict[tuple[str, str], Json]] = {
    ("POST", "/events"): _operation(
        "Append events",
        "Appends events in the order sent, each once however often its id is sent.",
        {
            "200": _answer("What became of each event, in the order sent.", _ref("BatchResult")),
            "503": _answer("The fate of some is not known: send the same batch again.", _ref("Problem")),
        },
        body=_BATCH,
    ),
    ("GET", "/wait"): _operation(
        "Wait for a position",
        "Answers when every projection holds the log up to a position.",
        {
            "200": _answer("They do.", _ref("Reached")),
            "503": _answer("They did not in time; `projections` says how far each is.", _ref("Problem")),
        },
        _parameter("position", "A position of the log.", required=True),
        _parameter("timeout_ms", "How long to wait.", maximum=MAX_TIMEOUT_MS, default=15_000),
    ),
    ("GET", "/metrics/history"): _operation("Read histories of metrics", _HISTORY, _HISTORIES, *_HISTORY_PARAMETERS),
    ("POST", "/metrics/history"): _operation(
        "Read histories of many metrics", _HISTORY, _HISTORIES, body=_HISTORY_BODY
    ),
    ("GET", "/status"): _operation(
        "How the server is doing",
        "Log, projections, what was rejected, waits, is parked or is a dead letter, and what this process does.",
        {"200": _answer("Also while PostgreSQL is away, which it says.", _ref("Status"))},
        _parameter(WAIT_POSITION.decode(), "Wait first for this position, as any read can.", where="header"),
    ),
    ("GET", "/openapi.json"): _operation(
        "This document", "The native API.", {"200": _answer("The document.", {"type": "object"})}
    ),
}


@cache
def document() -> bytes:
    """The document."""
    names = list(EVENT_TYPES)
    types = [Envelope, *EVENT_TYPES.values(), BatchResult, MetricHistories, Status, Reached, Problem]
    _, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    envelope = schemas["Envelope"]["properties"]
    del envelope["actor"]  # the server's word
    envelope["type"] = {"enum": names}
    envelope["payload"] = {"description": "The event that `type` names.", "anyOf": [_ref(name) for name in names]}
    paths: Json = {}
    for (method, path), operation in OPERATIONS.items():
        paths.setdefault(PREFIX + path, {})[method.lower()] = operation
    whole = {
        "openapi": "3.1.0",
        "info": {"title": "Runstream", "version": __version__, "description": "What MLflow's API has no words for."},
        "paths": paths,
        "security": [{}, {"bearer": []}, {"basic": []}],
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
    }
    return msgspec.json.encode(whole)


async def openapi(gateway: Gateway, request: Request) -> Answer:
    """``GET /openapi.json``."""
    return Answer(document())
