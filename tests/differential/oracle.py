"""What the installed ``mlflow`` package says about a call: whether its protobuf message can be read from it."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

from google.protobuf.json_format import ParseError
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from mlflow.protos import databricks_pb2, service_pb2
from mlflow.utils.proto_json_utils import parse_dict

#: Numbers in spellings that Python's ``int`` and ``float`` read, and no other language.
_PYTHONS_OWN: Final = re.compile(r"\s*[+-]?[\d_.]*\d[\d_.]*(?:[eE][+-]?\d+)?\s*")
_PLAIN_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


@cache
def _messages() -> dict[tuple[str, str], type[Message]]:
    found: dict[tuple[str, str], type[Message]] = {}
    for method in service_pb2.DESCRIPTOR.services_by_name["MlflowService"].methods:
        for endpoint in method.GetOptions().Extensions[databricks_pb2.rpc].endpoints:
            path = endpoint.path.removeprefix("/").removeprefix("mlflow/")
            found[endpoint.method, path] = GetMessageClass(method.input_type)
    return found


def parses(method: str, path: str, fields: dict[str, Any]) -> bool:
    """Whether the endpoint's message can be read from ``fields``; stock goes on with half of it where it cannot."""
    message_type = _messages().get((method, path))
    if message_type is None:
        return True  # read field by field
    if method == "GET":
        repeated = {field.name for field in message_type.DESCRIPTOR.fields if field.is_repeated}
        known = {field.name for field in message_type.DESCRIPTOR.fields}
        fields = {
            name: value
            if name in repeated and isinstance(value, list)
            else [str(value)]
            if name in repeated
            else str(value)
            for name, value in fields.items()
            if value is not None and name in known
        }
    try:
        parse_dict(fields, message_type())
    except ParseError:
        return False
    return True


def is_unstorable(value: Any) -> bool:
    """Whether a string within ``value`` cannot be stored by PostgreSQL."""
    if isinstance(value, str):
        return "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, list):
        return any(map(is_unstorable, value))
    return isinstance(value, dict) and any(map(is_unstorable, value.values()))


#: Fields that hold numbers.
_NUMERIC: Final = frozenset(
    {
        "experimentid",
        "experimentids",
        "value",
        "timestamp",
        "step",
        "starttime",
        "endtime",
        "maxresults",
        "startstep",
        "endstep",
    }
)


def has_a_python_number(value: Any, name: str = "") -> bool:
    """Whether a number is spelled as only Python reads it: ``1_000``, `` 5``, Arabic digits."""
    if isinstance(value, str):
        return (
            name.replace("_", "").lower() in _NUMERIC
            and _PYTHONS_OWN.fullmatch(value) is not None
            and not _PLAIN_NUMBER.fullmatch(value)
        )
    if isinstance(value, list):
        return any(has_a_python_number(item, name) for item in value)
    return isinstance(value, dict) and any(has_a_python_number(item, key) for key, item in value.items())
