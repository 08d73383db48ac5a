"""Filters and orders become syntax: as MLflow's own parser reads them, but for a short list of differences."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.utils.search_utils import SearchExperimentsUtils, SearchUtils

from runstream_projections.search import parse
from runstream_projections.search.parse import parse_filter, parse_order
from runstream_projections.search.syntax import And, Comparison, Field, Not, Or, Order, Term
from runstream_projections.search.terms import EXPERIMENTS, RUNS, Dialect
from runstream_schemas.errors import RequestError

NAME = Field("attribute", "name")
Clause = tuple[Field, str, object]
DIALECTS = pytest.mark.parametrize("dialect", [RUNS, EXPERIMENTS], ids=["runs", "experiments"])


def clauses(text: str, dialect: Dialect) -> list[Clause]:
    """The comparisons of a filter, all of which must hold."""
    term = parse_filter(text, dialect)
    terms = term.terms if isinstance(term, And) else () if term is None else (term,)
    found = [inner for inner in terms if isinstance(inner, Comparison)]
    assert len(found) == len(terms)
    return [(one.field, one.operator, one.value) for one in found]


def refusal(text: str, dialect: Dialect = EXPERIMENTS) -> str:
    with pytest.raises(RequestError) as caught:
        parse_filter(text, dialect)
    assert (caught.value.status, caught.value.code) == (400, "INVALID_PARAMETER_VALUE")
    caught.value.message.encode()  # can be sent
    assert len(caught.value.message) < 2000
    return caught.value.message


def order_refusal(texts: list[str], dialect: Dialect = EXPERIMENTS) -> str:
    with pytest.raises(RequestError) as caught:
        parse_order(texts, dialect)
    assert (caught.value.status, caught.value.code) == (400, "INVALID_PARAMETER_VALUE")
    return caught.value.message


# Filters by name, of experiments


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ("", []),
        ("name = 'x'", [("=", "x")]),
        ("name='x'", [("=", "x")]),
        ("name!='x'", [("!=", "x")]),
        ("name LIKE 'x%'", [("LIKE", "x%")]),
        ("name LIKE'x%'", [("LIKE", "x%")]),
        ("name ILIKE '%x%'", [("ILIKE", "%x%")]),
        ('name = "x"', [("=", "x")]),
        ("attribute.name = 'x'", [("=", "x")]),
        ("`name` = 'x'", [("=", "x")]),
        ("\"name\" = 'x'", [("=", "x")]),
        ("attribute.`name` = 'x'", [("=", "x")]),
        ("  name\n=\t'x'  ", [("=", "x")]),
        ("name = 'a' AND name != 'b'", [("=", "a"), ("!=", "b")]),
        ("name = 'a' and name != 'b'", [("=", "a"), ("!=", "b")]),
        ("name='a'AND name='b'", [("=", "a"), ("=", "b")]),
        ("name = 'AND' AND name = ' AND '", [("=", "AND"), ("=", " AND ")]),
        ("name = ''", [("=", "")]),
        ("name = 'it''s'", [("=", "it''s")]),
        ('name = "it\'s"', [("=", "it's")]),
        ("name = 'say \"x\"'", [("=", 'say "x"')]),
        ("name = 'a\\'b'", [("=", "a\\'b")]),
        ("name = '\\'", [("=", "\\")]),
        ('name = "a""b"', [("=", 'a""b')]),
        ('name = "a\\"b"', [("=", 'a\\"b')]),
        ('name = "a" AND name = "b"', [("=", "a"), ("=", "b")]),
        ("name = '\n'", [("=", "\n")]),
    ],
)
def test_a_filter_by_name_is_read_as_stock_reads_it(conditions: str, expected: list[tuple[str, str]]) -> None:
    assert clauses(conditions, EXPERIMENTS) == [(NAME, *clause) for clause in expected]


@pytest.mark.parametrize(
    "conditions",
    [
        *("   ", "name", "name = x", "name = 5", "name = '", "name = 'x", "name = 'x''", "name = `x`", "name <> 'x'"),
        *("name == 'x'", "name like 'x'", "name Ilike 'x'", "name NOT LIKE 'x'", "name IN ('a')", "name IS NULL"),
        *("NAME = 'x'", "attributes.name = 'x'", "attr.name = 'x'", "Attribute.name = 'x'", "attribute . name = 'x'"),
        *("name = 'a';", "name = 'x' -- c", "'x' = name", "nameLIKE 'x'"),
        *("`name = 'x'", "name = 'a' ANDname = 'b'", "name > 'a'"),
    ],
)
def test_another_filter_is_refused_with_the_column(conditions: str) -> None:
    assert " at column " in refusal(conditions)


@pytest.mark.parametrize(
    "conditions", ["name = 'a' name = 'b'", "name = 'a' AND", "AND name = 'a'", "name = 'a' AND AND name = 'b'"]
)
def test_a_filter_with_a_missing_clause_is_refused_though_stock_guesses(conditions: str) -> None:
    assert " at column " in refusal(conditions)


@pytest.mark.parametrize(
    ("conditions", "column"),
    [
        ("name", 5),
        ("name = x", 8),
        ("name = 'a' AND", 15),
        ("name = 'a' AND foo = 'b'", 16),
        ("name = 'a' AND name > 'b'", 16),
        ("name = 'a' AND creation_time = 'b'", 32),
        ("experiment_id IN ('1', 'x')", 1),
        ("  (name = 'a'", 14),
    ],
)
def test_the_column_is_that_of_the_mistake(conditions: str, column: int) -> None:
    assert f" at column {column}" in refusal(conditions)


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ("experiment_id = '1'", (Field("attribute", "experiment_id"), "=", (1,))),
        ("experiment_id NOT IN ('1', '-2')", (Field("attribute", "experiment_id"), "NOT IN", (1, -2))),
        ("creation_time > 1", (Field("attribute", "creation_time"), ">", 1)),
        ("tags.a = 'b'", (Field("tag", "a"), "=", "b")),
        ("tag.`a b` IS NOT NULL", (Field("tag", "a b"), "IS NOT NULL", None)),
    ],
)
def test_experiments_are_found_by_more_than_their_name(conditions: str, expected: Clause) -> None:
    assert clauses(conditions, EXPERIMENTS) == [expected]


@DIALECTS
@pytest.mark.parametrize(
    "text", ["{} = 1", "{}.a = 1", "attribute.{} = 'x'", "tags.{} > 1", "tags.t = {}", "tags.{} = 1", "tags.t = 1{}"]
)
def test_a_refusal_is_short_however_long_the_filter_is(dialect: Dialect, text: str) -> None:
    assert len(refusal(text.format("x" * 50_000), dialect)) < 500
    assert len(refusal(text.format("1" * 50_000), dialect)) < 500


# What Runstream adds


def compared(letter: str, column: int) -> Comparison:
    return Comparison(Field("tag", letter), "=", "x", column)


@DIALECTS
@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ("(tag.a = 'x')", compared("a", 2)),
        ("tag.a = 'x' OR tag.b = 'x'", Or((compared("a", 1), compared("b", 16)))),
        ("NOT tag.a = 'x'", Not(compared("a", 5))),
        ("not not tag.a = 'x'", Not(Not(compared("a", 9)))),
        (
            "tag.a = 'x' or tag.b = 'x' and not tag.c = 'x'",  # NOT binds closest, then AND
            Or((compared("a", 1), And((compared("b", 16), Not(compared("c", 36)))))),
        ),
        (
            "(tag.a = 'x' OR tag.b = 'x') AND tag.c = 'x'",
            And((Or((compared("a", 2), compared("b", 17))), compared("c", 34))),
        ),
        ("NOT (tag.a = 'x' AND tag.b = 'x')", Not(And((compared("a", 6), compared("b", 22))))),
    ],
)
def test_conditions_combine(dialect: Dialect, conditions: str, expected: Term) -> None:
    assert parse_filter(conditions, dialect) == expected


def test_params_and_tags_of_runs_are_found_by_lists() -> None:
    expected = [(Field("parameter", "p"), "IN", ("a", "b")), (Field("tag", "t"), "NOT IN", ("a",))]
    assert clauses("params.p IN ('a', \"b\") AND tags.t NOT IN ('a',)", RUNS) == expected


# Bounds


def test_a_filter_is_bounded() -> None:
    clause = "name != 'x'"
    most = parse.MAX_COMPARISONS
    assert len(clauses(" AND ".join([clause] * most), EXPERIMENTS)) == most
    assert f"over {most} comparisons" in refusal(" AND ".join([clause] * (most + 1)))
    assert f"over the limit of {parse.MAX_CHARACTERS}" in refusal(f"name = '{'x' * parse.MAX_CHARACTERS}'")
    assert " at column " in refusal("name = '" + "\\'" * 40_000 + "x")


@DIALECTS
def test_a_list_is_bounded(dialect: Dialect) -> None:
    key = "run_id" if dialect is RUNS else "experiment_id"

    def listed(entries: int) -> str:
        strings = ",".join(["'1'"] * entries)
        return f"{key} IN ({strings})"

    [(_, _, value)] = clauses(listed(parse.MAX_LIST), dialect)
    assert len(value) == parse.MAX_LIST  # type: ignore[arg-type]
    assert f"over {parse.MAX_LIST} strings" in refusal(listed(parse.MAX_LIST + 1), dialect)


@pytest.mark.parametrize(
    ("before", "after", "levels"),
    [
        ("NOT ", "", 1),
        ("NOT (", ")", 1),
        ("not(", ")", 1),
        ("(name = 'y' AND ", ")", 1),
        ("(NOT (name='y' OR ", "))", 2),
    ],
)
def test_nesting_is_bounded(before: str, after: str, levels: int) -> None:
    deepest = parse.MAX_DEPTH // levels
    assert parse_filter(before * deepest + "name = '((((NOT'" + after * deepest, EXPERIMENTS) is not None
    for depth in (deepest + 1, 150):
        assert "nested deeper" in refusal(before * depth + "name = 'x'" + after * depth)


def test_a_name_that_looks_like_the_end_of_a_string_hides_no_nesting() -> None:
    hidden = "params.\"a\\\" = 'x' AND " + "NOT " * 20_000 + "params.\"b\" = 'x'"
    assert "nested deeper" in refusal(hidden, RUNS)


def test_parentheses_that_hold_one_thing_nest_nothing() -> None:
    assert parse_filter("(" * 5_000 + "name = 'x'" + ")" * 5_000, EXPERIMENTS) is not None


def test_a_pattern_that_ends_with_a_lone_backslash_is_refused() -> None:
    assert "nothing to escape" in refusal(r"name LIKE 'abc\'")
    assert parse_filter(r"name LIKE 'abc\\'", EXPERIMENTS) is not None


def test_an_order_is_bounded() -> None:
    assert parse_order(["name"] * parse.MAX_ORDERS, EXPERIMENTS) == (Order(NAME, True),)
    assert f"over the limit of {parse.MAX_ORDERS}" in order_refusal(["name"] * (parse.MAX_ORDERS + 1))
    assert f"over the limit of {parse.MAX_CHARACTERS}" in order_refusal(["x" * (parse.MAX_CHARACTERS + 1)])


# Orders


@pytest.mark.parametrize(
    ("order_by", "expected"),
    [
        ([], []),
        (["creation_time DESC"], [("creation_time", False)]),
        (["name"], [("name", True)]),
        (["name "], [("name", True)]),
        (["name  dEsC"], [("name", False)]),
        (["attribute.name\tASC"], [("name", True)]),
        (["`last_update_time` asc"], [("last_update_time", True)]),
        (["experiment_id", "name DESC"], [("experiment_id", True), ("name", False)]),
        (["name", "name DESC"], [("name", True)]),
    ],
)
def test_an_order_is_read_as_stock_reads_it(order_by: list[str], expected: list[tuple[str, bool]]) -> None:
    assert parse_order(order_by, EXPERIMENTS) == tuple(Order(Field("attribute", key), up) for key, up in expected)


@pytest.mark.parametrize(
    "clause", ["", "attributes.name", "tag.x", "foo", "name foo", "name, experiment_id", "'name'", "name;"]
)
def test_another_order_is_refused(clause: str) -> None:
    assert "order_by[1]" in order_refusal(["name", clause])


def test_runs_are_not_ordered_twice_by_one_field() -> None:
    assert "duplicate fields" in order_refusal(["metrics.a", "metric.`a` DESC"], RUNS)
    assert len(order_refusal([f"metrics.{'a' * 50_000}"] * 20, RUNS)) < 3000
    assert len(parse_order(["metrics.a", "params.a", "tags.a"], RUNS)) == 3


# MLflow's parser is the oracle


def stock_filter(text: str, dialect: Dialect) -> list[Clause] | None:
    """The comparisons that MLflow reads in a filter, None where it refuses it."""
    try:
        return (_stock_runs if dialect is RUNS else _stock_experiments)(text)
    except MlflowException:
        return None


def _stock_runs(text: str) -> list[Clause]:
    found: list[Clause] = []
    for one in SearchUtils.parse_search_filter(text):
        kind, key, operator, value = one["type"], one["key"], one["comparator"].upper(), one["value"]
        key = SearchUtils.translate_key_alias(key)
        for check in (SearchUtils.is_string_attribute, SearchUtils.is_numeric_attribute):
            check(kind, key, operator)
        for check in (SearchUtils.is_metric, SearchUtils.is_param, SearchUtils.is_tag, SearchUtils.is_dataset):
            check(kind, operator)
        found.append((Field(kind, key), operator, float(value) if kind == "metric" else value))
    return found


#: What MLflow's SQL store, which is slow to import, takes of what the parser gives it.
STORE_TAKES = {
    "name": ("=", "!=", "LIKE", "ILIKE"),
    "experiment_id": ("=", "!=", "IN", "NOT IN"),
    "creation_time": ("=", "!=", ">", ">=", "<", "<="),
    "last_update_time": ("=", "!=", ">", ">=", "<", "<="),
}
STORE_TAKES_OF_TAGS = ("=", "!=", "LIKE", "ILIKE", "IS NULL", "IS NOT NULL")


def _stock_experiments(text: str) -> list[Clause]:
    found: list[Clause] = []
    for one in SearchExperimentsUtils.parse_search_filter(text):
        kind, key, operator, value = one["type"], one["key"], one["comparator"], one["value"]
        if operator not in (STORE_TAKES[key] if kind == "attribute" else STORE_TAKES_OF_TAGS):
            raise MlflowException("the store refuses the operator")
        if kind == "attribute" and key != "name":
            value = _integers(key, value)
        found.append((Field(kind, key), operator, value))
    return found


def _integers(key: str, value: Any) -> int | tuple[int, ...]:
    """Ids and times as the store reads them."""
    try:
        if key == "experiment_id":
            return tuple(map(int, value if isinstance(value, tuple) else (value,)))
        if not isinstance(value, float):
            return int(value)
    except ValueError:
        pass
    raise MlflowException("the store refuses the value")


def our_filter(text: str, dialect: Dialect) -> list[Clause] | None:
    try:
        return clauses(text, dialect)
    except RequestError:
        return None


#: Blanks, which may be missing beside an operator of signs.
BLANK = st.sampled_from([" ", "  ", "\n", "\t"])
SIGNS = ("=", "!=", ">", ">=", "<", "<=")
#: None of these is an operator of either.
FOREIGN = ("<>", "==", "RLIKE", "BETWEEN", "NOT LIKE", "=>", "~")
NUMBERS = ("1", "-1.5e-3", ".5", "1e3", "1E5", "5.", "-5", "00012", "9223372036854775807", "1.0", "1e400")
STRINGS = ("'x'", '"x"', "'it''s'", "''", "'%a%'", "'a\\'b'", '"a\'b"', "'a\"b'", "'1'", "' AND '")
BARE = ("x", "NaN", "inf", "0x1F", "1_000", "+5", "1e", "null", "true", "`x`", "'x")
LISTS = ("('a','b')", "('a',)", "('1', \"2\")", "()", "(1,2)", "('a', 1)", "'a'", "5")

METRICS = ("metrics.a", "metric.a.b", "metrics.`a b`", 'metrics."a/b"', "metrics.a_1", "metrics.é", "metrics.min")
TEXTS = (
    *("params.p", "param.p2", "parameters.x", "tags.t", "tag.mlflow.parentRunId", "tags.`a.b`", "tags.order"),
    *("params.select", "tags.name", "tags.type", 'param."a b"'),
)
RUN_IDS = ("attr.run_id", "run_id", "dataset.name", "datasets.digest", "dataset.context")
RUN_TEXTS = ("attributes.status", "status", "run.run_name", "run_name", "user_id", "artifact_uri", "`status`")
RUN_TIMES = ("start_time", "end_time", "attribute.end_time", "created", "Created", '"start_time"')
UNKNOWN = ("foo", "dataset.foo", "model.x", "metrics", "tags", "lifecycle_stage", "status.x", "1a", "'x'")

EXPERIMENT_TAGS = ("tags.t", "tag.`a b`", "tags.a.b", "tag.mlflow.note", 'tags."a/b"', "tags.name")
EXPERIMENT_NAMES = ("name", "attribute.name", "`name`", "attribute.`name`", '"name"')
EXPERIMENT_TIMES = ("creation_time", "last_update_time", "attribute.creation_time", "`last_update_time`")
EXPERIMENT_UNKNOWN = ("foo", "attr.name", "metrics.a", "status", "attributes.name", "tags", "NAME", "run_id")


def comparisons(fields: tuple[str, ...], operators: tuple[str, ...], values: tuple[str, ...]) -> st.SearchStrategy[str]:
    def joined(drawn: tuple[str, str, str, str, str]) -> str:
        field, operator, value, before, after = drawn
        apart = operator not in SIGNS
        return f"{field}{before or ' ' * apart}{operator}{after or ' ' * apart}{value}"

    blank = st.just("") | BLANK
    drawn = st.tuples(st.sampled_from(fields), st.sampled_from(operators), st.sampled_from(values), blank, blank)
    return drawn.map(joined)


def presence(fields: tuple[str, ...]) -> st.SearchStrategy[str]:
    words = st.sampled_from(["IS NULL", "IS NOT NULL", "is null", "is Not null"])
    return st.tuples(st.sampled_from(fields), words).map(" ".join)


LIKES = ("LIKE", "ILIKE", "like", "iLike")
RUN_CLAUSES = st.one_of(
    comparisons(METRICS + RUN_TIMES, SIGNS, NUMBERS),
    comparisons(TEXTS + RUN_TEXTS + RUN_IDS, ("=", "!=", *LIKES), STRINGS),
    comparisons(RUN_IDS, ("IN", "NOT IN", "in", "not in"), LISTS),
    presence(TEXTS),
    # What is refused, mostly
    comparisons(METRICS + TEXTS + RUN_TEXTS + RUN_TIMES + UNKNOWN, SIGNS + LIKES + FOREIGN, NUMBERS + STRINGS + BARE),
    comparisons(METRICS + RUN_TEXTS + RUN_TIMES, ("IN", "NOT IN"), LISTS),
    presence(METRICS + RUN_TEXTS + UNKNOWN),
)
EXPERIMENT_CLAUSES = st.one_of(
    comparisons(EXPERIMENT_TIMES, SIGNS, NUMBERS),
    comparisons(EXPERIMENT_NAMES + EXPERIMENT_TAGS, ("=", "!=", "LIKE", "ILIKE"), STRINGS),
    comparisons(("experiment_id", "attribute.experiment_id"), ("=", "!="), STRINGS),
    comparisons(("experiment_id", "attribute.experiment_id"), ("IN", "NOT IN"), LISTS),
    presence(EXPERIMENT_TAGS),
    comparisons(
        EXPERIMENT_NAMES + EXPERIMENT_TAGS + EXPERIMENT_TIMES + EXPERIMENT_UNKNOWN,
        SIGNS + LIKES + FOREIGN,
        NUMBERS + STRINGS + BARE,
    ),
    comparisons(EXPERIMENT_NAMES + EXPERIMENT_TAGS + EXPERIMENT_TIMES, ("IN", "NOT IN"), LISTS),
    presence(EXPERIMENT_NAMES + EXPERIMENT_TIMES + EXPERIMENT_UNKNOWN),
)
JOINED = st.sampled_from([" AND ", " AND ", " and ", "  AND ", "\nAND\t", " , ", ";"])
AROUND = st.sampled_from(["", "", " ", "\n"])
ORACLE = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def filters(draw: st.DrawFn, one: st.SearchStrategy[str]) -> str:
    text = draw(AROUND) + draw(one)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        text += draw(JOINED) + draw(one)
    return text + draw(AROUND)


@ORACLE
@given(filters(RUN_CLAUSES))
def test_filters_of_runs_are_read_or_refused_as_stock_does(text: str) -> None:
    assert our_filter(text, RUNS) == stock_filter(text, RUNS)


@ORACLE
@given(filters(EXPERIMENT_CLAUSES))
def test_filters_of_experiments_are_read_or_refused_as_stock_does(text: str) -> None:
    assert our_filter(text, EXPERIMENTS) == stock_filter(text, EXPERIMENTS)


def stock_order(text: str, dialect: Dialect) -> Order | None:
    try:
        if dialect is RUNS:
            entity, key, ascending = SearchUtils.parse_order_by_for_search_runs(text)
            key = SearchUtils.translate_key_alias(key)
        else:
            entity, key, ascending = SearchExperimentsUtils.parse_order_by_for_search_experiments(text)
    except MlflowException:
        return None
    return Order(Field(entity, key), ascending) if entity in dialect.ordered else None


def our_order(text: str, dialect: Dialect) -> Order | None:
    try:
        [order] = parse_order([text], dialect)
    except RequestError:
        return None
    return order


ORDERED = (
    *METRICS, *TEXTS, *RUN_IDS, *RUN_TEXTS, *RUN_TIMES, *UNKNOWN, *EXPERIMENT_TAGS, *EXPERIMENT_NAMES,
    *EXPERIMENT_TIMES, *EXPERIMENT_UNKNOWN, "metrics.desc", "metrics.train/loss", "tags.a b", "Run Name",
)  # fmt: skip
WAYS = ("", " ASC", " DESC", " asc", "  Desc", "\tDESC", " DES", " ASC DESC", ", x", " NULLS LAST", ";", " 1")


@DIALECTS
@ORACLE
@given(field=st.sampled_from(ORDERED), way=st.sampled_from(WAYS))
def test_orders_are_read_or_refused_as_stock_does(dialect: Dialect, field: str, way: str) -> None:
    assert our_order(field + way, dialect) == stock_order(field + way, dialect)


# Where Runstream means to differ


@pytest.mark.parametrize(
    "text",
    [
        # Stock's parser takes some keys for words of SQL, or for numbers.
        *("metrics.from = 1", "params.in IS NULL", "params.1 = 'x'"),
        # The extension.
        *("params.p IN ('a')", "tags.t NOT IN ('a', 'b')", "(metrics.a > 1)", "metrics.a > 1 OR params.p = 'x'"),
        *("NOT metrics.a > 1", "NOT (params.p = 'x' AND tags.t = 'y')"),
    ],
)
def test_runstream_reads_what_stock_refuses(text: str) -> None:
    assert parse_filter(text, RUNS) is not None
    assert stock_filter(text, RUNS) is None


@pytest.mark.parametrize(
    "text",
    [
        # Keys without what a key has, or without the quotes that a blank needs.
        *("tags. IS NULL", "metrics..a = 1", "tags.a b IS NULL"),
        # A list where one value belongs, and strings that nothing parts.
        *("dataset.name = ('a',)", "run_id LIKE ('a', 'b')", "run_id IN ('a' 'b')"),
        # AND that nothing parts from what follows it, or without what it joins.
        *("params.p = '1' andtags.t IS NULL", "params.p = 'a' params.q = 'b'", "params.p = 'a' AND"),
        # A quote that is not closed.
        "params.`x IS NULL AND params.`x IS NULL",
    ],
)
def test_runstream_refuses_what_stock_guesses_at(text: str) -> None:
    assert " at column " in refusal(text, RUNS)
    assert stock_filter(text, RUNS) is not None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("metrics.a DESC ", Order(Field("metric", "a"), False)),
        ("`run name`", Order(Field("attribute", "run_name"), True)),
        ("`metrics.a b`", Order(Field("metric", "a b"), True)),
        ("metrics.from", Order(Field("metric", "from"), True)),
        ("params.1", Order(Field("parameter", "1"), True)),
        ("metrics.", None),
        ("metrics.`a`.b DESC", Order(Field("metric", "`a`.b"), False)),
    ],
)
def test_orders_that_runstream_reads_otherwise(text: str, expected: Order | None) -> None:
    assert our_order(text, RUNS) == expected
