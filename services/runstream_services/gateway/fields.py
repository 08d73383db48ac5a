"""Request fields, read from JSON bodies and query strings by protobuf's JSON rules.

MLflow's endpoints are protobuf messages, so a stock client relies on these rules (google.protobuf.json_format, 7.36, as
MLflow 3.17 calls it): unknown fields are ignored; a field may be spelled ``run_id`` or ``runId``, not both; null is
unset; a 64-bit integer is a number, an integral float or a decimal string; a double is a number, a numeric string or
``"NaN"``, ``"Infinity"``, ``"-Infinity"``, and true counts as 1.0; an enum is a name or a number. An empty body is
``{}``, and a body that is a JSON string is decoded once more, for old clients.

Refused here, though stock MLflow lets it pass: whatever does not parse (stock goes on with half a message), numbers in
spellings that only Python reads (``"1_000"``, ``" 5"``, Unicode digits), and strings that PostgreSQL cannot store
(U+0000, lone surrogates). Every refusal is a 400 that names the field.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Final

from runstream_schemas.errors import RequestError, invalid

#: Reads one JSON value into a plain Python one, or raises :class:`FieldError`.
Convert = Callable[[object], Any]

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
_INT32_MAX: Final = 2**31 - 1

#: What a double's special values are called in JSON.
SPECIAL_DOUBLES: Final[dict[str, float]] = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

_INTEGER = re.compile(r"[+-]?[0-9]{1,400}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INFINITY = re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)
_SHOWN_CHARACTERS: Final = 250

#: A few bytes of JSON become a hundred in memory: more separators than this are not a call, but a way to fill it.
MAX_SEPARATORS: Final = 100_000
#: Elements of one array, before any is looked at; MLflow's own limits lie well below it.
MAX_ELEMENTS: Final = 50_000
# All up to the next separator that is in no string. Nothing is given back, so that nothing is read twice.
_NEXT_SEPARATOR = re.compile(r'(?:[^",\[{]++|"(?:[^"\\]++|\\.)*+"?)*+(?:([,\[{])|\Z)', re.DOTALL)


class FieldError(Exception):
    """A value that cannot be read, and why; ``path`` names it, and grows outwards as it leaves nested messages.

    It never leaves this module: :class:`Message` turns it into a 400.
    """

    def __init__(self, value: object, why: str) -> None:
        super().__init__(why)
        self.value = value
        self.why = why
        self.path = ""

    def inside(self, step: str) -> FieldError:
        """The same error, seen from the message or array that holds the value under ``step``."""
        dot = "." if self.path and not self.path.startswith("[") else ""
        self.path = f"{step}{dot}{self.path}"
        return self


def refused(path: str, value: object, why: str) -> RequestError:
    """The 400 for the value of the field ``path``, in stock's wording (mlflow.utils.validation)."""
    return invalid(f"Invalid value {shown(value)} for parameter '{path}' supplied: {why}")


def shown(value: object) -> str:
    """``value`` as JSON for an error message: short, and in ASCII, so that it can be sent whatever it holds."""
    if isinstance(value, list):
        return "[...]"
    if isinstance(value, dict):
        return "{...}"
    literal = json.dumps(value[:_SHOWN_CHARACTERS] if isinstance(value, str) else value)
    return literal if len(literal) <= 2 * _SHOWN_CHARACTERS else literal[: 2 * _SHOWN_CHARACTERS] + "..."


def text(value: object) -> str:
    """A string that PostgreSQL can store."""
    if type(value) is not str:
        raise FieldError(value, "expected a string")
    if "\x00" in value:
        raise FieldError(value, "it holds the character U+0000, which cannot be stored")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            code = ord(value[error.start])
            raise FieldError(value, f"it holds the lone surrogate U+{code:04X}, which is no character") from None
    return value


def int64(value: object) -> int:
    """A signed 64-bit integer."""
    number = value if type(value) is int else _whole(value)
    if not INT64_MIN <= number <= INT64_MAX:
        raise FieldError(value, "expected a 64-bit integer")
    return number


def int32(value: object) -> int:
    """A signed 32-bit integer."""
    number = _whole(value)
    if not -_INT32_MAX - 1 <= number <= _INT32_MAX:
        raise FieldError(value, "expected a 32-bit integer")
    return number


def _whole(value: object) -> int:
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is str:
        if _INTEGER.fullmatch(value):
            return int(value)
        if _NUMBER.fullmatch(value):
            number = float(value)
            if number.is_integer():
                return int(number)
    raise FieldError(value, "expected an integer")


def double(value: object) -> float:
    """A 64-bit float; only the strings may be NaN or infinite, a number beyond the range is refused."""
    number: float | None = None
    if type(value) is float:
        number = value
    elif type(value) is int:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    elif type(value) is bool:
        return float(value)
    elif type(value) is str:
        if value in SPECIAL_DOUBLES:
            return SPECIAL_DOUBLES[value]
        if _INFINITY.fullmatch(value):
            return float(value)
        if _NUMBER.fullmatch(value):
            number = float(value)
    if number is None:
        raise FieldError(value, "expected a number")
    if not math.isfinite(number):
        raise FieldError(value, 'expected a finite number or "NaN", "Infinity" or "-Infinity" in quotes')
    return number


def enum(names: Mapping[str, int]) -> Convert:
    """A reader of one of ``names``, given by name, by number or by the number as a string; it gives the name."""
    by_number = {number: name for name, number in names.items()}

    def read(value: object) -> str:
        if type(value) is str and value in names:
            return value
        try:
            return by_number[_whole(value)]
        except (FieldError, KeyError):
            raise FieldError(value, f"expected one of {', '.join(names)}") from None

    return read


def _repeated(convert: Convert) -> Convert:
    def read(value: object) -> list[Any]:
        if type(value) is not list:
            raise FieldError(value, "expected an array")
        if len(value) > MAX_ELEMENTS:
            raise FieldError(value, f"{len(value)} elements are more than any call may hold")
        items = []
        at = 0
        try:
            for at, item in enumerate(value):  # noqa: B007 - read where the exception is caught
                if item is None:
                    raise FieldError(item, "null cannot be an element of an array")
                items.append(convert(item))
        except FieldError as error:
            raise error.inside(f"[{at}]") from None
        return items

    return read


class Message:
    """The fields of one protobuf message: single ones, and repeated ones (``many``), by their snake_case names.

    Reading gives a dict by snake_case name that holds the fields that were sent; null gives None, as unset does through
    ``get``.
    """

    def __init__(self, fields: Mapping[str, Convert], *, many: Mapping[str, Convert] | None = None) -> None:
        self._single = dict(fields)
        self._many = dict(many or {})
        slots = self._single | {name: _repeated(convert) for name, convert in self._many.items()}
        self._slots = {
            spelling: (name, convert) for name, convert in slots.items() for spelling in (name, _camel_case(name))
        }

    def read(self, value: object) -> dict[str, Any]:
        """The message in ``value``, a decoded JSON object; :class:`FieldError` where it does not fit."""
        if type(value) is not dict:
            raise FieldError(value, "expected an object")
        got: dict[str, Any] = {}
        spelling = ""
        try:
            for spelling, item in value.items():
                slot = self._slots.get(spelling)
                if slot is None:
                    continue
                name, convert = slot
                if name in got:
                    twin = _camel_case(name)
                    raise FieldError(item, f"Request specifies both '{name}' and '{twin}'; provide only one of them.")
                got[name] = None if item is None else convert(item)
        except FieldError as error:
            raise error.inside(spelling) from None
        return got

    def from_body(self, body: bytes) -> dict[str, Any]:
        """The message in a request body; 400 where it does not fit."""
        value = _decoded(body)
        if type(value) is not dict:
            raise invalid(f"The request body must be a JSON object, got {shown(value)}.")
        return self._answered(value)

    def from_query(self, query: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """The message in a query string's decoded pairs; 400 where it does not fit.

        Only snake_case names count, and of a single field given twice the first value, as in stock.
        """
        value: dict[str, Any] = {}
        for name, item in query:
            if name in self._many:
                value.setdefault(name, []).append(item)
            elif name in self._single:
                value.setdefault(name, item)
        return self._answered(value)

    def _answered(self, value: dict[str, Any]) -> dict[str, Any]:
        try:
            return self.read(value)
        except FieldError as error:
            raise refused(error.path, error.value, error.why) from None


def _camel_case(name: str) -> str:
    """protobuf's JSON name of a field: ``dataset_name`` is ``datasetName``."""
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _decoded(body: bytes) -> object:
    """The JSON value of a body; nothing, blanks and null count as ``{}``."""
    if not body.strip():
        return {}
    try:
        value = loaded(body.decode(json.detect_encoding(body), "surrogatepass"))
        if type(value) is str:
            value = loaded(value)
    except RecursionError:
        raise invalid("The request body is nested too deeply.") from None
    except ValueError as error:  # malformed, truncated, not Unicode, or a number of thousands of digits
        raise invalid(f"The request body is not valid JSON: {error}.") from None
    return {} if value is None else value


def loaded(document: str) -> Any:
    """The value of a JSON document; 400 where it has too many separators, those within strings not counted."""
    if sum(map(document.count, ",[{")) > MAX_SEPARATORS:
        found = islice(_NEXT_SEPARATOR.finditer(document), MAX_SEPARATORS + 1)
        if sum(match.lastindex is not None for match in found) > MAX_SEPARATORS:
            raise invalid(f"The request body has over {MAX_SEPARATORS} commas and brackets: send it in several calls.")
    return json.loads(document)


def required(got: Mapping[str, Any], name: str, path: str = "") -> Any:
    """The field ``name`` of the message at ``path``, or stock's 400 where it is unset or empty."""
    value = got.get(name)
    if value is None or value == "":
        where = f"{path}.{name}" if path else name
        raise invalid(
            f"Missing value for required parameter '{where}'. "
            "See the API docs for more information about request parameters."
        )
    return value
