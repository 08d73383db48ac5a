"""Orders to SQL: what runs are sorted by, and how a page goes on after the last run of the one before.

As in stock, runs that have a value come first, in either direction, then those with NaN, then those without; ties are
in the order of start time, newest first, and then of run id.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from runstream_projections.run_json import ARTIFACT_URI
from runstream_projections.search.arguments import Arguments
from runstream_projections.search.conditions import rows_of
from runstream_projections.search.syntax import Field, Order
from runstream_projections.suffixes import Suffixes

_START_TIME: Final = Order(Field("attribute", "start_time"), ascending=False)
_RUN_ID: Final = Order(Field("attribute", "run_id"), ascending=True)

#: Attributes as (SQL, PostgreSQL's type).
_ATTRIBUTES: Final = {
    "run_id": ("r.run_id", "text"),
    "run_name": ('r.name collate "C"', "text"),
    "user_id": ('r.user_id collate "C"', "text"),
    "status": ("r.status", "text"),
    "artifact_uri": (f'({ARTIFACT_URI}) collate "C"', "text"),
    "start_time": ("r.start_time", "bigint"),
    "end_time": ("r.end_time", "bigint"),
}

_DOUBLE: Final = re.compile(r"-?(?P<digits>[0-9]+(?:\.[0-9]+)?)(?:e[+-][0-9]{1,3})?")

#: A run's place in an order: for each key its class where it has one, and its value as text, null where it has none.
Place = Sequence[int | str | None]


def shortened(orders: tuple[Order, ...]) -> tuple[Order, ...]:
    """``orders`` without what holds anyway: newest first."""
    return () if orders in ((_START_TIME,), (_START_TIME, _RUN_ID)) else orders


class Key(NamedTuple):
    """One sort key: ``presence`` is SQL for 0, 1 or 2 (there, NaN, missing), None where it is always there.

    ``value`` is SQL for the value, null where it is NaN or missing; ``kind`` its type.
    """

    presence: str | None
    value: str
    kind: str
    ascending: bool


def complete(orders: Sequence[Order]) -> tuple[Order, ...]:
    """``orders`` and those that decide between equals."""
    fields = {order.field for order in orders}
    return (*orders, *(order for order in (_START_TIME, _RUN_ID) if order.field not in fields))


def sorting_of_runs(orders: Sequence[Order], arguments: Arguments, suffixes: Suffixes) -> Sorting:
    """The sort keys of runs, in :func:`complete` orders."""
    keys: list[Key] = []
    joins = ""
    for number, order in enumerate(orders):
        field = order.field
        if field.entity == "attribute":
            value, kind = _ATTRIBUTES[field.key]
            presence = "(r.end_time is null)::integer" if field.key == "end_time" else None
            keys.append(Key(presence, value, kind, order.ascending))
            continue
        row = f"o{number}"
        table, key = rows_of(field.entity, suffixes), arguments.add(field.key, "text")
        joins += f" left join {table} {row} on {row}.run_id = r.run_id and {row}.key = {key}"
        if field.entity == "metric":
            presence = f"case when {row}.run_id is null then 2 when {row}.value = 'NaN' then 1 else 0 end"
            keys.append(Key(presence, f"nullif({row}.value, 'NaN')", "float8", order.ascending))
        else:
            keys.append(Key(f"({row}.run_id is null)::integer", f"{row}.value", "text", order.ascending))
    return Sorting(keys, arguments, joins)


class Sorting:
    """The sort keys of one search, and the joins that they need."""

    def __init__(self, keys: Sequence[Key], arguments: Arguments, joins: str = "") -> None:
        self.keys = keys
        self.joins = joins
        self._arguments = arguments

    @property
    def by(self) -> str:
        """What follows ORDER BY."""
        parts = []
        for key in self.keys:
            parts += [] if key.presence is None else [key.presence]
            parts.append(f"{key.value} {'asc' if key.ascending else 'desc'}")
        return ", ".join(parts)

    @property
    def place(self) -> str:
        """SQL for a row's :data:`Place`, as a JSON array."""
        parts = []
        for key in self.keys:
            parts += [] if key.presence is None else [key.presence]
            parts.append(f"({key.value})::text")
        return f"json_build_array({', '.join(parts)})"

    def fits(self, place: object) -> bool:
        """Tell whether ``place`` has the form of what :attr:`place` gives; it comes from a client.

        Its texts are such as PostgreSQL can store: whoever read it saw to that.
        """
        expected = sum(1 if key.presence is None else 2 for key in self.keys)
        if type(place) is not list or len(place) != expected:
            return False
        entries = iter(place)
        for key in self.keys:
            presence = 0 if key.presence is None else next(entries)
            value = next(entries)
            if type(presence) is not int or not 0 <= presence <= 2:
                return False
            if (value is None) != (presence > 0) or not (value is None or _is(value, key.kind)):
                return False
        return True

    def after(self, place: Place) -> str:
        """The condition that a row comes after ``place``."""
        entries = iter(place)
        pairs = [(key, None if key.presence is None else next(entries), next(entries)) for key in self.keys]
        condition = "false"
        for key, presence, value in reversed(pairs):
            if value is not None:
                at = self._arguments.add(value, f"text::{key.kind}")
                beyond = f"{key.value} {'>' if key.ascending else '<'} {at}"
                condition = f"({beyond} or ({key.value} = {at} and {condition}))"
            if presence is not None:
                at = self._arguments.add(presence, "integer")
                condition = f"({key.presence} > {at} or ({key.presence} = {at} and {condition}))"
        return condition


def _is(value: object, kind: str) -> bool:
    """Tell whether a client's text can be cast to ``kind``."""
    if type(value) is not str:
        return False
    try:
        if kind == "bigint":
            return -(2**63) <= int(value) < 2**63 and str(int(value)) == value
        if kind == "float8":
            return value in ("Infinity", "-Infinity") or _is_double(value)
    except ValueError:
        return False
    return True


def _is_double(value: str) -> bool:
    """Tell whether PostgreSQL could have written this number: it refuses to read those that do not fit."""
    found = _DOUBLE.fullmatch(value)
    if found is None or not math.isfinite(float(value)):
        return False
    return float(value) != 0 or not found["digits"].strip("0.")
