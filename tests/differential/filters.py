"""Filters and orders of runs and experiments: every entity, operator, spelling and quoting, and wrong ones."""

from __future__ import annotations

from itertools import product
from typing import Final, NamedTuple

from hypothesis import strategies as st

from tests.differential.values import KEYS, QUOTED_KEYS, TEXTS

NUMERIC: Final = ("=", "!=", ">", ">=", "<", "<=")
TEXTUAL: Final = ("=", "!=", "LIKE", "ILIKE")
LISTS: Final = ("IN", "NOT IN")
_WAYS: Final = ("ASC", "DESC", "neither")
PRESENCE: Final = ("IS NULL", "IS NOT NULL")


class Subject(NamedTuple):
    """What a clause is about: ``called`` are its entity's names (an empty one: a bare key), ``keys`` what follows.

    ``values`` gives what it is compared with, as the filter has it.
    """

    name: str
    called: tuple[str, ...]
    keys: tuple[str, ...]
    operators: tuple[str, ...]
    values: st.SearchStrategy[str]
    orders: bool = True


def _quoted(text: str) -> str:
    """``text`` in a quote that it does not hold; there is no escape."""
    return f'"{text}"' if "'" in text else f"'{text}'"


_TEXT: Final = st.sampled_from([_quoted(text) for text in TEXTS]) | st.sampled_from(
    [
        "'%a%'",
        "'a_b'",
        "'%'",
        "'_'",
        "'X%'",
        "'%B'",
        "'a\\%b'",
        "'it''s'",
        "''",
        "'\\'",
        "'%\\_%'",
        '"x"',
        "'x '",
        "'É%'",
    ]
)
_NUMBER: Final = st.sampled_from(
    ["0", "1", "-1.5", "-1.5e-3", ".5", "1e3", "5.", "0.1", "3", "1E5", "1e400", "1e308", "-1e308", "00012"]
)
_TIME: Final = st.sampled_from(["0", "5", "7", "1000", "1e3", "5.5", "-1", "1700000000000", "9223372036854775807"])
_RUN_ID: Final = st.sampled_from(["'$run:0$'", "'$run:3$'", '"$run:4$"', "'%'", "'nosuch'", "''"])
_URI: Final = st.sampled_from(["'%$run:0$%'", "'mlflow-artifacts:%'", "'%/artifacts'", "'nosuch'", "'%experiment%'"])
_STATUS: Final = st.sampled_from(["'RUNNING'", "'FINISHED'", "'finished'", "'%ED'", "'F_NISHED'", "'KILLED'", "''"])
_DATASET: Final = st.sampled_from(["'d1'", "'d2'", "'D%'", "'%1'", "'train'", "'1'", "''", "'it''s'"])
_EXPERIMENT_NAME: Final = st.sampled_from(
    ["'$name:a$'", "'$name:b$'", "'$name:%$'", "'$name:A%$'", "'%B'", "'%'", "'$name:it$'", '"$name:it\'s$"', "''"]
)
_EXPERIMENT_ID: Final = st.sampled_from(["'$experiment:0$'", "'$experiment:1$'", "'0'", "'999999999'"])
_STAMP: Final = st.sampled_from(["$created:0$", "$created:1$", "$updated:0$", "$updated:1$", "0", "9999999999999"])

_USER_KEYS: Final = tuple(KEYS)

RUNS: Final = (
    Subject("metric", ("metrics", "metric"), _USER_KEYS, NUMERIC, _NUMBER),
    Subject("param", ("params", "param", "parameter", "parameters"), _USER_KEYS, TEXTUAL + PRESENCE, _TEXT),
    Subject("tag", ("tags", "tag"), (*_USER_KEYS, *QUOTED_KEYS), TEXTUAL + PRESENCE, _TEXT),
    Subject("start_time", ("attributes", "attribute", "attr", ""), ("start_time", "created"), NUMERIC, _TIME),
    Subject("end_time", ("attributes", "run", ""), ("end_time",), NUMERIC, _TIME),
    Subject("run_id", ("attributes", "attr", ""), ("run_id",), TEXTUAL + LISTS, _RUN_ID),
    Subject("run_name", ("attributes", "run", ""), ("run_name", "Run Name"), TEXTUAL, _TEXT),
    Subject("user_id", ("attributes", "attribute", ""), ("user_id",), TEXTUAL, _TEXT),
    Subject("status", ("attributes", "attribute", ""), ("status",), TEXTUAL, _STATUS),
    Subject("artifact_uri", ("attributes", "attribute", ""), ("artifact_uri",), TEXTUAL, _URI),
    Subject("dataset", ("dataset", "datasets"), ("name", "digest", "context"), TEXTUAL + LISTS, _DATASET, orders=False),
)  # fmt: skip

EXPERIMENTS: Final = (
    Subject("name", ("attribute", ""), ("name",), TEXTUAL, _EXPERIMENT_NAME),
    Subject("experiment_id", ("attribute", ""), ("experiment_id",), ("=", "!=", *LISTS), _EXPERIMENT_ID),
    Subject("creation_time", ("attribute", ""), ("creation_time",), NUMERIC, _STAMP),
    Subject("last_update_time", ("attribute", ""), ("last_update_time",), NUMERIC, _STAMP),
    Subject("tag", ("tags", "tag"), _USER_KEYS, TEXTUAL + PRESENCE, _TEXT, orders=False),
)


#: Begins a filter that finds experiments of one history only.
THIS_HISTORY: Final = "name LIKE '$name:%$' AND "


class Search(NamedTuple):
    """The filter and the orders of one entity; ``drawn`` is for the coverage."""

    text: str
    drawn: tuple[str, ...]


def operators(what: str, subjects: tuple[Subject, ...]) -> set[str]:
    """What the coverage must have seen of filters and orders."""
    filters = {f"{what} filter {subject.name} {operator}" for subject in subjects for operator in subject.operators}
    ways = product([subject.name for subject in subjects if subject.orders], _WAYS)
    return filters | {f"{what} order {name} {way}" for name, way in ways}


@st.composite
def _identifier(draw: st.DrawFn, subject: Subject) -> str:
    entity, key = draw(st.sampled_from(subject.called)), draw(st.sampled_from(subject.keys))
    plain = all(part.isidentifier() for part in key.split("."))
    quote = draw(st.sampled_from(["", "`", '"']) if plain else st.sampled_from(["`", '"']))
    if quote and quote in key:
        quote = "`" if quote == '"' else '"'
    return f"{entity}.{quote}{key}{quote}" if entity else f"{quote}{key}{quote}"


@st.composite
def _clause(draw: st.DrawFn, what: str, subjects: tuple[Subject, ...]) -> Search:
    # Each pair of subject and operator as often as any other, so that rare ones are seen.
    subject, operator = draw(st.sampled_from([(s, operator) for s in subjects for operator in s.operators]))
    name = draw(_identifier(subject))
    spelled = operator
    if what == "runs" and operator[0].isalpha() and draw(st.integers(0, 3)) == 3:
        spelled = draw(st.sampled_from([operator.lower(), operator.title()]))
    if operator in PRESENCE:
        text = f"{name} {spelled}"
    elif operator in LISTS:
        values = draw(st.lists(subject.values, min_size=1, max_size=3))
        text = f"{name} {spelled} ({', '.join(values)}{',' if len(values) == 1 and draw(st.booleans()) else ''})"
    else:
        blank = "" if not operator[0].isalpha() and draw(st.integers(0, 4)) == 4 else " "
        text = f"{name}{blank}{spelled}{blank}{draw(subject.values)}"
    return Search(text, (f"{what} filter {subject.name} {operator}",))


@st.composite
def filters(draw: st.DrawFn, what: str, subjects: tuple[Subject, ...]) -> Search:
    """A filter as stock reads it."""
    clauses = draw(st.lists(_clause(what, subjects), min_size=1, max_size=3))
    conjunction = draw(st.sampled_from([" AND ", " AND ", " and ", "  AND\n", "\tAnd "]))
    return Search(conjunction.join(clause.text for clause in clauses), sum((clause.drawn for clause in clauses), ()))


@st.composite
def orders(draw: st.DrawFn, what: str, subjects: tuple[Subject, ...]) -> tuple[list[str], tuple[str, ...]]:
    """An ``order_by`` in which no field is given twice, and what was drawn."""
    ordering = [(subject, way) for subject in subjects if subject.orders for way in _WAYS]
    chosen = draw(st.lists(st.sampled_from(ordering), max_size=3, unique_by=lambda one: one[0].name))
    clauses, drawn = [], []
    for subject, way in chosen:
        spelled = draw(st.sampled_from(["", ""] if way == "neither" else [f" {way}", f" {way.lower()}"]))
        clauses.append(draw(_identifier(subject)) + spelled)
        drawn.append(f"{what} order {subject.name} {way}")
    return clauses, tuple(drawn)


#: What Runstream takes and stock does not.
EXTENSIONS: Final = (
    "metrics.m > 0 OR params.m = 'x'",
    "NOT metrics.m > 0",
    "(metrics.m > 0 and tags.m = 'x')",
    "(params.m = 'x' OR params.m IS NULL) AND metrics.m > 0",
    "params.m IN ('x', 'X')",
    "params.m NOT IN ('x', 'X')",
    "tags.m IN ('x')",
    "tags.m not in ('x')",
)

#: Texts that no filter of either server is.
_MALFORMED: Final = (
    " ", "metrics.m", "= 1", "metrics.m >", "metrics.m > 1 AND", "AND metrics.m > 1", "metrics.m > 1;",
    "metrics.m > 'x'", "metrics.m > x", "metrics.m > NaN", "metrics.m > inf", "metrics.m <> 1", "metrics.m == 1",
    "metrics.m LIKE 'x'", "metrics.m IS NULL", "metrics.m BETWEEN 1 AND 2", "metrics.m IN (1)", "metrics.`m > 1",
    "params.m = x", "params.m = 1", "params.m > 'x'", "params.m RLIKE 'x'", "params.m = 'x", "params.m = `x`",
    "tags.m IS 1", "tags.m =", "tags. = 'x'", "tags = 'x'", "model.m = 'x'", "nosuch = 'x'",
    "lifecycle_stage = 'active'", "attributes.nosuch = 'x'", "attributes.status > 'x'", "attributes.status = 1",
    "attributes.status IN ('x')", "attributes.start_time = '5'", "attributes.start_time LIKE '5'",
    "run_id IN ()", "run_id IN 'x'", "run_id IN (1)", "run_id IN ('a' 'b')", "dataset.nosuch = 'x'",
    "dataset.name > 'x'", "dataset.name = 1", "1 < metrics.m", "metrics.m > 1, metrics.m < 2", "select 1",
    "metrics.m > 1_000", "params.m = 'x' params.m = 'y'", "name = 5",
    "name > 'x'", "name IN ('x')", "creation_time = '5'", "creation_time > 5.5",
    "attributes.name = 'x'", "experiment_id > '0'", "experiment_id = 0", "experiment_id LIKE '0'",
)  # fmt: skip
#: The same by what is searched: experiments know operators in upper case only, and runs no names.
MALFORMED: Final = {
    "experiments": (*_MALFORMED, "name like 'x'", "tags.m is null"),
    "runs": (*_MALFORMED, "name = 'x'", "experiment_id = '0'"),
}

#: Orders that no search of either server takes.
BAD_ORDERS: Final = (
    "", " ", "DESC", "metrics.m ASC DESC", "metrics.m, metrics.loss", "metrics.m up", "dataset.name", "nosuch.m",
    "nosuch", "metrics.m;", "`metrics.m", "experiment_id DESC NULLS LAST", "attribute.nosuch", "1",
)  # fmt: skip
