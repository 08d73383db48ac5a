"""Documents: the metrics, params or tags of a run as the elements of the JSON lists that the API answers.

A page of runs is read from documents: making it of rows would take ten times as long. A document is made when its rows
change, of all of them, which must not cost more the more a run has: where there are many, or large ones, there is no
document, null, and it is made of the rows when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson

#: Rows, and characters of their values, that have a document.
MAX_ROWS: Final = 128
MAX_CHARACTERS: Final = 16_000


def pair_json(row: str) -> str:
    """SQL for one param or tag in the row called ``row``, as orjson renders it."""
    return f"""'{{"key":' || to_json({row}.key)::text || ',"value":' || to_json({row}.value)::text || '}}'"""


def metric_json(row: str) -> str:
    """SQL for the latest point of a metric. Doubles in the fewest digits that give them back, ``1.0`` with its point.

    NaN and the infinities are strings, as in protobuf's JSON. PostgreSQL takes NaN for equal to itself and greater than
    all others.
    """
    value = f"{row}.value"
    number = (
        f"case when abs({value}) >= 'Infinity' then '\"' || {value} || '\"' "
        f"when {value} = trunc({value}) and abs({value}) < 1e15 then {value} || '.0' else {value}::text end"
    )
    return (
        f"""'{{"key":' || to_json({row}.key)::text || ',"value":' || {number} || """
        f"""',"timestamp":' || {row}.timestamp || ',"step":' || {row}.step || '}}'"""
    )


def elements(table: str, run: str, element: str) -> str:
    """SQL for all of a run's rows as list elements, by key; the row is called ``x`` in ``element``; '' for none."""
    return f"(select coalesce(string_agg({element}, ',' order by x.key), '') from {table} x where x.run_id = {run})"


def document(table: str, run: str, element: str, characters: str) -> str:
    """SQL for :func:`elements`, null where there are too many, or too many ``characters`` in them together."""
    return (
        f"(select case when count(*) <= {MAX_ROWS} and coalesce(sum({characters}), 0) <= {MAX_CHARACTERS} "
        f"then coalesce(string_agg({element}, ',' order by x.key), '') end "
        f"from (select * from {table} where run_id = {run} order by key limit {MAX_ROWS + 1}) x)"
    )


def pairs_document(pairs: Mapping[str, str]) -> str | None:
    """What :func:`document` makes of params or tags."""
    if len(pairs) > MAX_ROWS or sum(map(len, pairs.values())) > MAX_CHARACTERS:
        return None
    return orjson.dumps([{"key": key, "value": pairs[key]} for key in sorted(pairs)])[1:-1].decode()
