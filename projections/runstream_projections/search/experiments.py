"""How experiments are found: there are few, so that one statement that looks at all of them is quick."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from runstream_projections.projection import Statement
from runstream_projections.reads import experiments_with_tags
from runstream_projections.search.arguments import Arguments
from runstream_projections.search.conditions import combined, number_test, text_test
from runstream_projections.search.orders import Key, Place, Sorting
from runstream_projections.search.syntax import Comparison, Field, Order, Term
from runstream_projections.suffixes import Suffixes

_COLUMNS: Final = {
    "name": ("e.name", "text"),
    "experiment_id": ("e.experiment_id", "bigint"),
    "creation_time": ("e.creation_time", "bigint"),
    "last_update_time": ("e.last_update_time", "bigint"),
}
_NEWEST: Final = (Order(Field("attribute", "creation_time"), False), Order(Field("attribute", "experiment_id"), True))
_LATEST_ID: Final = Order(Field("attribute", "experiment_id"), False)
_LISTS: Final = {"=": "= any", "IN": "= any", "!=": "<> all", "NOT IN": "<> all"}


class ExperimentSearch(NamedTuple):
    """What is searched for; ``deleted`` None for both, ``after`` the place of the last experiment of the page before.

    The values of comparisons of ``experiment_id`` are integers in a tuple.
    """

    where: Term | None
    orders: tuple[Order, ...]
    deleted: bool | None
    limit: int
    after: Place | None = None


def sorting_of_experiments(orders: Sequence[Order], arguments: Arguments) -> Sorting:
    """The sort keys of experiments: newest first where none is given, equals by id, latest first, as in stock."""
    orders = tuple(orders) or _NEWEST
    if all(order.field != _LATEST_ID.field for order in orders):
        orders = (*orders, _LATEST_ID)
    return Sorting([Key(None, *_COLUMNS[order.field.key], order.ascending) for order in orders], arguments)


def page(search: ExperimentSearch, suffixes: Suffixes) -> Statement:
    """The rows of one experiment more than the page has, each with its ``place``."""
    arguments = Arguments()
    sorting = sorting_of_experiments(search.orders, arguments)
    tests = ["true"]
    if search.deleted is not None:
        tests.append(f"e.deleted = {arguments.add(search.deleted, 'boolean')}")
    if search.where is not None:
        tests.append(combined(search.where, lambda comparison: _comparison(comparison, arguments, suffixes)))
    if search.after is not None:
        tests.append(sorting.after(search.after))
    most = arguments.add(search.limit + 1, "bigint")
    sql = (
        f"{experiments_with_tags(suffixes, f'{sorting.place}::text as place')} where {' and '.join(tests)} "
        f"order by {sorting.by} limit {most}"
    )
    return arguments.statement(sql)


def _comparison(comparison: Comparison, arguments: Arguments, suffixes: Suffixes) -> str:
    field, operator, value = comparison.field, comparison.operator, comparison.value
    if field.entity == "attribute":
        column, kind = _COLUMNS[field.key]
        if field.key == "experiment_id":
            assert isinstance(value, tuple)
            return f"{column} {_LISTS[operator]}({arguments.add(list(value), 'bigint[]')})"
        if kind == "bigint":
            assert isinstance(value, int | float)
            return number_test(operator, column, value, arguments)
        return text_test(operator, column, value, arguments)
    tests = [
        "x.experiment_id = e.experiment_id",
        f"x.key = {arguments.add(field.key, 'text')}",
        *([] if operator in ("IS NULL", "IS NOT NULL") else [text_test(operator, "x.value", value, arguments)]),
    ]
    exists = f"exists (select from experiment_tags{suffixes['experiments']} x where {' and '.join(tests)})"
    return f"not {exists}" if operator == "IS NULL" else exists
