"""The OpenAPI document is of the router's own routes, and its schemas are those that are sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from runstream_schemas.events import EVENT_TYPES
from runstream_services.gateway.app import NATIVE
from runstream_services.gateway.openapi import PREFIX, document

DOCUMENT: dict[str, Any] = json.loads(document())


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def test_every_route_is_described_and_nothing_else() -> None:
    described = {(method.upper(), path) for path, operations in DOCUMENT["paths"].items() for method in operations}
    assert described == {(method, PREFIX + path) for method, path, _ in NATIVE}


def test_every_operation_says_what_it_answers() -> None:
    for operations in DOCUMENT["paths"].values():
        for operation in operations.values():
            assert operation["summary"]
            assert {"200", "400"} <= operation["responses"].keys()
            for answer in operation["responses"].values():
                assert answer["description"]


def test_references_lead_somewhere_and_every_schema_is_used() -> None:
    used = set(references(DOCUMENT))
    assert used == {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert used >= {f"#/components/schemas/{name}" for name in EVENT_TYPES}


def test_an_envelope_has_no_actor_and_one_of_the_known_types() -> None:
    envelope = DOCUMENT["components"]["schemas"]["Envelope"]["properties"]
    assert set(envelope["type"]["enum"]) == set(EVENT_TYPES)
    assert "actor" not in envelope
    assert DOCUMENT["openapi"].startswith("3.1.")
