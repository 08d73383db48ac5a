"""Filters to SQL: a condition on a run ``r`` of an experiment ``e``, or the set of runs that a comparison finds.

Semantics are MLflow's (SqlAlchemyStore): what a run lacks matches nothing, not even ``!=``; NaN matches ``!=`` only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from runstream_projections.decisions import RUN_NAME_TAG
from runstream_projections.run_json import ARTIFACT_URI
from runstream_projections.search.arguments import Arguments
from runstream_projections.search.syntax import And, Comparison, Field, Not, Or, Term
from runstream_projections.suffixes import Suffixes

#: The index of params and tags holds so many characters of a value.
INDEXED_CHARACTERS: Final = 128

_LARGEST_BIGINT: Final = 2**63 - 1
_LAST_BEFORE_SURROGATES: Final = "\ud7ff"

#: What is compared in a run's own row.
_COLUMNS: Final = {
    "run_id": "r.run_id",
    "user_id": 'r.user_id collate "C"',
    "status": "r.status",
    "start_time": "r.start_time",
    "end_time": "r.end_time",
    "artifact_uri": f'({ARTIFACT_URI}) collate "C"',
}
_TEXT_TESTS: Final = {
    "=": "{} = {}",
    "!=": "{} <> {}",
    "LIKE": "{} like {}",
    "ILIKE": '{} collate "default" ilike {}',
    "IN": "{} = any({})",
    "NOT IN": "{} <> all({})",
}


class Source(NamedTuple):
    """The runs that a comparison finds, as a query of their ids, each once.

    ``range`` is a query of as many rows or more, which the index alone answers.
    """

    comparison: Comparison
    runs: str
    range: str


def rows_of(entity: str, suffixes: Suffixes) -> str:
    """The table that has the metrics, params or tags of runs."""
    if entity == "metric":
        return f"latest_metrics{suffixes['latest_metrics']}"
    return f"{'params' if entity == 'parameter' else 'tags'}{suffixes['runs']}"


def without_aliases(field: Field) -> Field:
    """The field that holds what this one names: a run's name is found as its tag, as in stock."""
    return Field("tag", RUN_NAME_TAG) if field == Field("attribute", "run_name") else field


def text_test(operator: str, left: str, value: object, arguments: Arguments) -> str:
    """A comparison of texts."""
    kind = "text[]" if isinstance(value, tuple) else "text"
    return _TEXT_TESTS[operator].format(left, arguments.add(list(value) if isinstance(value, tuple) else value, kind))


def number_test(operator: str, left: str, value: int | float, arguments: Arguments) -> str:
    """A comparison of an integer column with any number."""
    if isinstance(value, int) and abs(value) <= _LARGEST_BIGINT:
        return f"{left} {_symbol(operator)} {arguments.add(value, 'bigint')}"
    return f"{left} {_symbol(operator)} {arguments.add(str(value), 'text::numeric')}"


def combined(term: Term, of: Callable[[Comparison], str]) -> str:
    """The condition of a term, whose comparisons' conditions ``of`` gives."""
    match term:
        case And(terms):
            return f"({' and '.join(combined(inner, of) for inner in terms)})"
        case Or(terms):
            return f"({' or '.join(combined(inner, of) for inner in terms)})"
        case Not(inner):
            return f"not {combined(inner, of)}"
        case Comparison():
            return of(term)


class Conditions:
    """Compiles the terms of one filter; the values become ``arguments``."""

    def __init__(self, arguments: Arguments, suffixes: Suffixes, experiments: str) -> None:
        self._arguments = arguments
        self._suffixes = suffixes
        self._experiments = experiments

    def test(self, term: Term) -> str:
        """A condition on ``r`` that is true or false, never null, so that NOT turns it round."""
        return combined(term, self._comparison)

    def source(self, comparison: Comparison) -> Source | None:
        """The runs that a comparison finds, where an index gives them; None for the others."""
        field = without_aliases(comparison.field)
        if field == Field("attribute", "run_id") and comparison.operator in ("=", "IN"):
            runs = self._runs_by_id(comparison)
            return Source(comparison, runs, runs)
        if field.entity == "dataset":
            runs = self._runs_of_datasets(comparison)
            return Source(comparison, runs, runs)
        if field.entity not in ("metric", "parameter", "tag") or comparison.operator == "IS NULL":
            return None
        table = rows_of(field.entity, self._suffixes)
        of_key = (
            f"select x.run_id from {table} x where x.experiment_id = any({self._experiments}) "
            f"and x.key = {self._arguments.add(field.key, 'text')}"
        )
        indexed, exact = self._row_tests(field, comparison)
        runs = " and ".join([of_key, *indexed, *exact])
        return Source(comparison, runs, " and ".join([of_key, *indexed]))

    def _runs_by_id(self, comparison: Comparison) -> str:
        ids = comparison.value if isinstance(comparison.value, tuple) else (comparison.value,)
        table = f"runs{self._suffixes['runs']}"
        return f"select x.run_id from {table} x where x.run_id = any({self._arguments.add(list(ids), 'text[]')})"

    def _runs_of_datasets(self, comparison: Comparison) -> str:
        uses = f"{self._uses(comparison)} and u.experiment_id = any({self._experiments})"
        return f"select distinct u.run_id from {uses}"

    def _uses(self, comparison: Comparison) -> str:
        """The uses ``u`` of datasets by runs, with the conditions; two comparisons may speak of different datasets."""
        suffix, key = self._suffixes["inputs"], comparison.field.key
        column = "u.context" if key == "context" else f"s.{key}"
        indexed, exact = self._text_tests(comparison.operator, comparison.value, column)
        tests = " and ".join([f"{column} is not null", *indexed, *exact])
        if key == "context":
            return f"dataset_inputs{suffix} u where {tests}"
        return f"dataset_inputs{suffix} u join datasets{suffix} s using (experiment_id, dataset) where {tests}"

    def _comparison(self, comparison: Comparison) -> str:
        field = without_aliases(comparison.field)
        if field.entity == "attribute":
            return self._attribute(field.key, comparison)
        if field.entity == "dataset":
            return f"exists (select from {self._uses(comparison)} and u.run_id = r.run_id)"
        indexed, exact = self._row_tests(field, comparison)
        key = f"x.key = {self._arguments.add(field.key, 'text')}"
        tests = " and ".join(["x.run_id = r.run_id", key, *indexed, *exact])
        exists = f"exists (select from {rows_of(field.entity, self._suffixes)} x where {tests})"
        return f"not {exists}" if comparison.operator == "IS NULL" else exists

    def _attribute(self, key: str, comparison: Comparison) -> str:
        column, operator, value = _COLUMNS[key], comparison.operator, comparison.value
        if key in ("start_time", "end_time"):
            assert isinstance(value, int | float)
            test = number_test(operator, column, value, self._arguments)
            return test if key == "start_time" else f"({column} is not null and {test})"
        return text_test(operator, column, value, self._arguments)

    def _row_tests(self, field: Field, comparison: Comparison) -> tuple[list[str], list[str]]:
        """The conditions on the value of a row ``x``: those that its index can answer, and those that it cannot."""
        operator, value = comparison.operator, comparison.value
        if operator in ("IS NULL", "IS NOT NULL"):
            return [], []
        if field.entity == "metric":
            assert isinstance(value, float)
            test = f"x.value {_symbol(operator)} {self._arguments.add(value, 'float8')}"
            # PostgreSQL takes NaN for greater than all others.
            return ([test, "x.value < 'NaN'"], []) if operator in (">", ">=") else ([test], [])
        return self._text_tests(operator, value, "x.value")

    def _text_tests(self, operator: str, value: object, column: str) -> tuple[list[str], list[str]]:
        indexed = f"left({column}, {INDEXED_CHARACTERS})"
        values = value if isinstance(value, tuple) else (value,)
        if operator in ("=", "IN"):
            begins = tuple(v[:INDEXED_CHARACTERS] for v in values)
            tests = [text_test(operator, indexed, begins if operator == "IN" else begins[0], self._arguments)]
            whole = all(len(v) < INDEXED_CHARACTERS for v in values)
            return tests, [] if whole else [text_test(operator, column, value, self._arguments)]
        tests = []
        if operator == "LIKE":
            low, high = _begins(values[0])
            tests += [f"{indexed} >= {self._arguments.add(low, 'text')}"] if low else []
            tests += [f"{indexed} < {self._arguments.add(high, 'text')}"] if high else []
        return tests, [text_test(operator, column, value, self._arguments)]


def _symbol(operator: str) -> str:
    return "<>" if operator == "!=" else operator


def _begins(pattern: str) -> tuple[str, str]:
    """The texts between which, below the second, all lie that a LIKE pattern matches; '' where there is no bound."""
    literal = ""
    for character in pattern[: INDEXED_CHARACTERS - 1]:
        if character in "%_\\":
            break
        literal += character
    if not literal or literal[-1] >= _LAST_BEFORE_SURROGATES:
        return literal, ""
    return literal, literal[:-1] + chr(ord(literal[-1]) + 1)
