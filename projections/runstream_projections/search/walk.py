"""Walking along an order: its first runs are tested, until a page is full."""

from __future__ import annotations

from functools import cached_property
from typing import Final

from runstream_projections.projection import Statement
from runstream_projections.search.conditions import INDEXED_CHARACTERS, rows_of
from runstream_projections.search.orders import complete
from runstream_projections.search.query import Query, RunSearch
from runstream_projections.search.syntax import Field, Order
from runstream_projections.suffixes import Suffixes

#: How many runs are looked at first in the order asked for: so many, and as many times as many as the page has; and how
#: many at the most, where the first ones promise that these will do.
WALKED: Final = 100
WALKED_PER_RESULT: Final = 2
MAX_WALKED: Final = 8_000

#: Of more experiments at once the order is not walked.
MAX_EXPERIMENTS: Final = 16

_TIME: Final = Field("attribute", "start_time")
_LATEST: Final = str(2**63 - 1)


def first_walk(limit: int) -> int:
    """How many to walk first for a page of ``limit`` runs."""
    return WALKED + WALKED_PER_RESULT * limit


def walk(search: RunSearch, suffixes: Suffixes, size: int) -> Statement | None:
    """The page, if the first ``size`` runs of the order hold it: it counts only where it is full, or complete.

    None where no index has the order.
    """
    first = complete(search.orders)[0]
    if len(search.experiments) > MAX_EXPERIMENTS or (first.field.entity == "attribute" and first.field != _TIME):
        return None
    query = Query(search, suffixes)
    way = _Walk(query, first, size)
    sets = way.sets()
    return query.page(query.found_in("seen"), sets, complete=way.complete)


def next_walk(walked: int, found: int, limit: int) -> int | None:
    """How many to walk after a walk that found too few, as it lets expect; None where that would be too many."""
    wanted = 2 * walked * (limit + 1) // max(found, 1)
    return wanted if walked < wanted <= MAX_WALKED else None


class _Walk:
    """The first runs of an order by one field: those with a value, from that of the last run before on.

    Of those that have the last value which is looked at, others are not looked at: they are left out, unless nothing
    but time orders them (``tied``). Where all that have a value were looked at, those with NaN follow, and then those
    without, in the order of time (``missing``).
    """

    def __init__(self, query: Query, first: Order, size: int) -> None:
        self._query = query
        self._first = first
        self._size = query.limit(size)
        self._add = query.arguments.add
        self._metric = first.field.entity == "metric"
        place, keys = query.search.after, query.sorting.keys
        #: The presence and value of the last run before, and its start time where nothing else orders equals.
        self._presence = 0 if place is None or keys[0].presence is None else place[0]
        self._value = None if place is None else place[0 if keys[0].presence is None else 1]
        self._alone = len(query.search.orders) == 1 and first.field != _TIME
        self._start = None if place is None or not self._alone else place[2]

    def sets(self) -> list[str]:
        """The tables of a WITH, the last of which is ``seen``: run ids."""
        beyond = "<" if self._first.ascending else ">"
        sets = [
            f"walked as materialized ({self._walked()})",
            f"edge as materialized (select {'max' if self._first.ascending else 'min'}(value) as value, "
            f"count(*) < {self._size} as over from walked)",
        ]
        seen = f"select run_id from walked where (select over from edge) or value {beyond} (select value from edge)"
        if self._alone:
            start = _LATEST if self._presence != 2 else self._add(self._start, "text::bigint")
            sets += [
                f"tied as materialized ({self._tied()})",
                f"newest as materialized ({self._newest(start)})",
                f"missing as materialized ({self._missing()})",
            ]
            seen += " union all select run_id from tied union all select run_id from missing"
        return [*sets, f"seen as materialized ({seen})"]

    def _walked(self) -> str:
        """The first runs with a value, and it."""
        direction = "asc" if self._first.ascending else "desc"
        rows, value = self._rows()
        return (
            f"select c.run_id, c.value from unnest({self._query.experiments}) t (id) cross join lateral "
            f"({rows} order by {value} {direction} limit {self._size}) c (run_id, value) "
            f"order by c.value {direction} limit {self._size}"
        )

    def _rows(self) -> tuple[str, str]:
        """A query of (run_id, value) of one experiment, ``t.id``, that an index gives in order, and the value."""
        reached = ">=" if self._first.ascending else "<="
        if self._first.field == _TIME:
            rows = (
                f"select x.run_id, x.start_time from runs{self._query.suffixes['runs']} x where x.experiment_id = t.id"
            )
            if self._value is not None:
                rows += f" and x.start_time {reached} {self._add(self._value, 'text::bigint')}"
            return rows, "x.start_time"
        rows = (
            f"select x.run_id, {self._compared} from {self._table} x where x.experiment_id = t.id "
            f"and x.key = {self._key}"
        )
        rows += " and x.value < 'NaN'" if self._metric else ""
        rows += "" if self._presence == 0 else " and false"
        if self._value is not None:
            rows += f" and {self._compared} {reached} {self._at}"
        return rows, self._compared

    def _tied(self) -> str:
        """The newest runs that have the last value; not of texts of which more decides than the index has."""
        newest = _LATEST
        if self._start is not None and self._value is not None:
            same = f"value = {self._at}"
            newest = (
                f"(select case when {same} then {self._add(self._start, 'text::bigint')} else {newest} end from edge)"
            )
        short = "" if self._metric else f" and length((select value from edge)) < {INDEXED_CHARACTERS}"
        return (
            f"select c.run_id from ({self._newest(newest)}) c where not (select over from edge){short} and exists "
            f"(select from {self._table} x where x.run_id = c.run_id and x.key = {self._key} "
            f"and {self._compared} = (select value from edge))"
        )

    def _missing(self) -> str:
        """Those with NaN where they are few, then the newest of those without a value."""
        over = "(select over from edge)"
        without = (
            f"select c.run_id from newest c where {over} and not exists "
            f"(select from {self._table} x where x.run_id = c.run_id and x.key = {self._key})"
        )
        if not self._metric:
            return without
        return (
            f"select n.run_id from ({self._nan}) n where {over} and {self._few_nan} "
            f"union all select w.run_id from ({without}) w where {self._few_nan}"
        )

    @property
    def _nan(self) -> str:
        return (
            f"select x.run_id from {self._table} x where x.experiment_id = any({self._query.experiments}) "
            f"and x.key = {self._key} and x.value = 'NaN' limit {self._size}"
        )

    @property
    def _few_nan(self) -> str:
        return f"(select count(*) from ({self._nan}) n) < {self._size}"

    @property
    def complete(self) -> str:
        """SQL for whether every run was looked at."""
        if self._first.field == _TIME:
            return "(select over from edge)"
        if not self._alone:
            return "false"
        few = f" and {self._few_nan}" if self._metric else ""
        return f"((select over from edge) and (select count(*) from newest) < {self._size}{few})"

    def _newest(self, start: str) -> str:
        """The newest runs that did not start after ``start``."""
        runs = f"runs{self._query.suffixes['runs']}"
        order = f"order by x.start_time desc, x.run_id limit {self._size}"
        return (
            f"select x.run_id from unnest({self._query.experiments}) t (id) cross join lateral "
            f"(select x.run_id, x.start_time from {runs} x where x.experiment_id = t.id and x.start_time <= {start} "
            f"{order}) x {order}"
        )

    @cached_property
    def _table(self) -> str:
        return rows_of(self._first.field.entity, self._query.suffixes)

    @cached_property
    def _key(self) -> str:
        return self._add(self._first.field.key, "text")

    @property
    def _compared(self) -> str:
        """What the index has of a row's value."""
        return "x.value" if self._metric else f"left(x.value, {INDEXED_CHARACTERS})"

    @cached_property
    def _at(self) -> str:
        """What the index has of the value of the last run before."""
        return (
            self._add(self._value, "text::float8")
            if self._metric
            else f"left({self._add(self._value, 'text')}, {INDEXED_CHARACTERS})"
        )
