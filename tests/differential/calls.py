"""One call of MLflow's API as data, and how it is sent."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

API: Final = "/api/2.0/mlflow/"
AJAX: Final = "/ajax-api/2.0/mlflow/"

#: How a body is sent: as JSON, as JSON within a JSON string, or wrongly.
SHAPES: Final = ("json", "json in json", "with a charset", "broken", "as text", "an array")


class Call(NamedTuple):
    """A call: ``fields`` have marks (``marks.py``), ``drawn`` says what was drawn for it, for the coverage."""

    method: str
    path: str
    fields: dict[str, Any]
    prefix: str = API
    shape: str = "json"
    drawn: tuple[str, ...] = ()

    def __repr__(self) -> str:
        how = "" if self.shape == "json" else f" ({self.shape})"
        return f"{self.method} {self.prefix}{self.path} {self.fields!r}{how}"

    @property
    def row(self) -> str:
        """Its endpoint."""
        return f"{self.method} {self.path}"


class Sent(NamedTuple):
    """A call as HTTP has it."""

    query: list[tuple[str, str]]
    body: bytes
    content_type: str


def encoded(call: Call, fields: dict[str, Any]) -> Sent:
    """``call`` with its marks filled in, ``fields``."""
    if call.method == "GET":
        pairs = [
            (name, _word(item))
            for name, value in fields.items()
            for item in (value if isinstance(value, list) else [value])
            if item is not None
        ]
        return Sent(pairs, b"", "")
    body = json.dumps(fields)
    content_type = "application/json"
    if call.shape == "json in json":
        body = json.dumps(body)
    elif call.shape == "with a charset":
        content_type = "application/json; charset=utf-8"
    elif call.shape == "broken":
        body = body[:-1]
    elif call.shape == "as text":
        content_type = "text/plain"
    elif call.shape == "an array":
        body = json.dumps([fields])
    return Sent([], body.encode(), content_type)


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
