"""Runstream and stock MLflow, asked the same, answer the same: bodies, statuses and error codes.

Histories of calls are drawn: every endpoint of experiments and runs, every field and operator, and in a third of the
calls something wrong. What differs on purpose is listed in ``differences.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, example, given, seed, settings
from hypothesis import strategies as st

from runstream_services.gateway.app import AJAX, MLFLOW
from tests.differential import filters
from tests.differential.calls import Call
from tests.differential.differences import DIFFERENCES
from tests.differential.drawing import SUBJECTS, calls
from tests.differential.history import Pair
from tests.differential.population import POPULATION, SELDOM
from tests.differential.rows import ROWS, Row

_ROUTED: Final = {f"{method} {path[1:]}" for method, path, _ in (*MLFLOW, *AJAX)}

_SPELLINGS: Final = (
    "camelCase",
    "camelCase of other fields",
    "null",
    "unknown field",
    "json in json",
    "with a charset",
)
_ALIASES: Final = ("alone", "both", "other")
_WRONG: Final = ("type", "missing", "rule", "filter", "order", "extension", "shape", "twins")


@st.composite
def _populated(draw: st.DrawFn, rows: Sequence[Row], calls_at_most: int) -> list[Call]:
    # Each is left out where that makes a failing history smaller.
    first = [call for call in POPULATION if draw(st.integers(0, 9))]
    return first + draw(st.lists(calls(rows, SUBJECTS), min_size=calls_at_most // 2, max_size=calls_at_most))


_SELDOM: Final = [*POPULATION, *(call for call in SELDOM if call.row in _ROUTED)]
_ON_SERVERS: Final = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))


def test_every_row_is_routed() -> None:
    assert {row.name for row in ROWS} <= _ROUTED


@seed(317)
@settings(_ON_SERVERS, max_examples=3, phases=[Phase.explicit, Phase.generate])
@given(history=_populated(ROWS, 30))
@example(history=_SELDOM)
def test_the_same_calls_get_the_same_answers(pair: Pair, history: list[Call]) -> None:
    play(pair, history)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_every_row_and_operator_gets_the_same_answers(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    @settings(_ON_SERVERS, max_examples=400)
    @given(history=_populated(ROWS, 40))
    @example(history=_SELDOM)
    def drawn(history: list[Call]) -> None:
        play(pair, history)

    drawn()
    with capsys.disabled():
        print("\nWhat was drawn, and how often:")
        for name, count in sorted(pair.drawn.items()):
            print(f"{count:7} {name}")
    never_drawn = wanted() - set(pair.drawn)
    assert never_drawn == set()


def play(pair: Pair, history: Sequence[Call]) -> None:
    """Send a history to both servers; raises AssertionError at the first answer that differs, and not on purpose."""
    at_both = pair.history()
    for call in history:
        at_both.send(call)


def wanted() -> set[str]:
    """What must have been drawn."""
    searched = [filters.operators(what, subjects) for what, subjects in SUBJECTS.items()]
    wrong = {f"wrong {way}" for way in _WRONG}
    return set().union(
        *searched,
        wrong,
        {f"row {row.name}" for row in ROWS},
        {f"spelling {spelling}" for spelling in _SPELLINGS},
        {f"alias run_uuid {alias}" for alias in _ALIASES},
        # A difference that is never met is none.
        {f"difference {difference.stock}" for difference in DIFFERENCES},
    )
