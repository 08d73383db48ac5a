"""Draws calls: two in three are right, and one in three is spoilt in one way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from hypothesis import strategies as st

from tests.differential import filters, values
from tests.differential.calls import SHAPES, Call
from tests.differential.rows import ALIASED, Field, Row, example

Subjects = Mapping[str, tuple[filters.Subject, ...]]

SUBJECTS: Final[Subjects] = {"runs": filters.RUNS, "experiments": filters.EXPERIMENTS}

#: All experiments on one page: other histories may have left different ones on each server, and they shift pages.
_ALL: Final = 50_000


@st.composite
def calls(draw: st.DrawFn, rows: Sequence[Row], subjects: Subjects = SUBJECTS) -> Call:
    """One call to one of ``rows``, more often to those of more weight, with filters and orders by ``subjects``."""
    row: Row = draw(st.sampled_from([row for row in rows for _ in range(row.weight)]))
    fields = draw(example(row.needed, row.other))
    drawn: list[str] = []
    if row.search and subjects[row.search]:
        drawn += draw(_searched(row.search, fields, subjects[row.search]))
    shape = "json"
    if draw(st.integers(0, 2)) == 2:
        spoilt, shape = draw(_spoilt(row, fields))
        drawn.append(f"wrong {spoilt}")
    if row.path == "runs/create" and _is_made_up(fields):
        fields["experiment_id"] = "$limbo$"
    if (
        row.path == "experiments/search"
        and not str(fields.get("filter")).startswith(filters.THIS_HISTORY)
        and fields.get("max_results")
    ):
        fields["max_results"] = _ALL if isinstance(fields["max_results"], int | str) else fields["max_results"]
    if row.path in ALIASED and "run_id" in fields and draw(st.integers(0, 3)) == 3:
        drawn.append(draw(_aliased(fields)))
    if row.method == "POST" and shape == "json":
        spelling = draw(
            st.sampled_from(
                ["plain"] * 6
                + ["camelCase", "camelCase of other fields", "null", "unknown field", "json in json", "with a charset"]
            )
        )
        if spelling == "camelCase" and set(fields) & set(row.needed):
            fields = _camel_case(fields)
        elif spelling == "camelCase of other fields":
            fields = {_camel(name) if name in row.other else name: _camel_case(item) for name, item in fields.items()}
        elif spelling == "null":
            fields |= dict.fromkeys(set(row.other) - set(fields))
        elif spelling == "unknown field":
            fields["nosuch"] = {"a": [1]}
        elif spelling in SHAPES:
            shape = spelling
        drawn.append(f"spelling {spelling}")
    prefix = draw(st.sampled_from([row.prefixes[0], *row.prefixes]))
    return Call(row.method, row.path, fields, prefix, shape, (*drawn, f"prefix {prefix}"))


@st.composite
def _searched(draw: st.DrawFn, what: str, fields: dict[str, Any], subjects: tuple[filters.Subject, ...]) -> list[str]:
    """Give the call a filter and an order, or none; returns what was drawn."""
    drawn: list[str] = []
    if draw(st.integers(0, 5)):
        search = draw(filters.filters(what, subjects))
        fields["filter"] = search.text
        drawn += search.drawn
        if what == "experiments" and draw(st.booleans()):
            fields["filter"] = filters.THIS_HISTORY + search.text
    if draw(st.booleans()):
        fields["order_by"], ordered = draw(filters.orders(what, subjects))
        drawn += ordered
    return drawn


@st.composite
def _spoilt(draw: st.DrawFn, row: Row, fields: dict[str, Any]) -> tuple[str, str]:
    """Spoil ``fields`` in one way; returns the way, and the shape of the body."""
    known = {**row.needed, **row.other}
    ways = ["type", "missing"]
    ruled = [name for name, field in known.items() if field.bad is not None or field.inner]
    ways += ["rule", "rule"] if ruled else []
    ways += ["filter", "filter", "order", "extension"] if row.search else []
    ways += ["shape", "twins"] if row.method == "POST" else []
    way: str = draw(st.sampled_from(ways))
    if way == "shape":
        return way, draw(st.sampled_from([shape for shape in SHAPES if shape in ("broken", "as text", "an array")]))
    if way == "missing":
        name = draw(st.sampled_from(list(row.needed)))
        if draw(st.booleans()):
            fields.pop(name, None)
        else:
            fields[name] = None if draw(st.booleans()) else ""
    elif way == "twins":
        name = draw(st.sampled_from(list(known)))
        fields.setdefault(name, draw(known[name].good))
        fields[_camel(name)] = fields[name]
    elif way == "filter":
        fields["filter"] = draw(st.sampled_from(filters.MALFORMED[row.search or ""]))
    elif way == "order":
        bad = [draw(st.sampled_from(filters.BAD_ORDERS))]
        fields["order_by"] = bad * 2 if row.method == "GET" else bad
    elif way == "extension":
        if row.search != "runs":
            fields["filter"] = draw(st.sampled_from(filters.MALFORMED[row.search or ""]))
            return "filter", "json"
        fields["filter"] = draw(st.sampled_from(filters.EXTENSIONS))
    elif way == "rule":
        name = draw(st.sampled_from(ruled))
        fields[name] = draw(_against_a_rule(known[name]))
    else:
        name = draw(st.sampled_from(list(known)))
        wrong = draw(_of_wrong_type(known[name]))
        if row.method == "GET" and (known[name].kind == "text" or not _fits_a_query(wrong)):
            wrong = "abc\x00"  # as text, and in a query all is text, "5" is right and may be an id
        fields[name] = wrong
    return way, "json"


@st.composite
def _against_a_rule(draw: st.DrawFn, field: Field) -> Any:
    ruled = {name: inner for name, inner in (field.inner or {}).items() if inner.bad is not None}
    if not ruled or (field.bad is not None and draw(st.booleans())):
        return draw(field.bad) if field.bad is not None else draw(field.good)
    name = draw(st.sampled_from(list(ruled)))
    return [{**draw(example(field.inner or {}, {})), name: draw(ruled[name].bad)}]  # type: ignore[arg-type]


@st.composite
def _of_wrong_type(draw: st.DrawFn, field: Field) -> Any:
    if field.inner and draw(st.booleans()):
        name = draw(st.sampled_from(list(field.inner)))
        one = draw(example(field.inner, {}))
        return [one, {**one, name: draw(st.sampled_from(values.WRONG[field.inner[name].kind]))}]
    return draw(st.sampled_from(values.WRONG[field.kind]))


@st.composite
def _aliased(draw: st.DrawFn, fields: dict[str, Any]) -> str:
    way: str = draw(st.sampled_from(["alone", "both", "other"]))
    if way == "other":
        fields["run_uuid"] = "nosuch"
    else:
        fields["run_uuid"] = fields["run_id"]
    if way == "alone":
        del fields["run_id"]
    return f"alias run_uuid {way}"


def _fits_a_query(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, str) and _fits_a_query(item) for item in value)
    if isinstance(value, dict):
        return False
    return not isinstance(value, str) or not any("\ud800" <= character <= "\udfff" for character in value)


def _is_made_up(fields: dict[str, Any]) -> bool:
    """Whether the server has to make up a run's name or its start."""
    return not fields.get("start_time") or not fields.get("run_name")


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(map(str.capitalize, rest))


def _camel_case(value: Any) -> Any:
    if isinstance(value, list):
        return [_camel_case(item) for item in value]
    if isinstance(value, dict):
        return {name if "$" in name else _camel(name): _camel_case(item) for name, item in value.items()}
    return value
