"""Searches of runs find what a slow model finds, whatever the plan, page by page."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import NamedTuple
from unittest import mock

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_projections.search import find, query, walk
from runstream_projections.search.query import RunSearch
from runstream_projections.search.syntax import And, Comparison, Field, Not, Or, Order, Term
from runstream_projections.search.terms import RUNS, Kind
from runstream_services.embedded_postgres import EmbeddedPostgres
from runstream_services.gateway.search import find_runs
from tests.databases import new_database
from tests.laws import found_runs
from tests.laws.effort import MORE_SEARCHES, SEARCHES
from tests.pipeline import fold, tables, write


class Found:
    """Tables with runs, and the model's; no dataclass, which hypothesis would print whole."""

    def __init__(self, connection: asyncpg.Connection, suffixes: dict[str, str], model: list[found_runs.Run]) -> None:
        self.connection = connection
        self.suffixes = suffixes
        self.model = model


@pytest.fixture(scope="module")
async def runs(postgres: EmbeddedPostgres) -> AsyncIterator[Found]:
    """Tables with the model's runs, and the model."""
    events, model = found_runs.history()
    database = await new_database(postgres)
    await write(database, events)
    await fold(database)
    async with tables(database) as read:
        yield Found(read.connection, read.suffixes, model)


_keys = {
    "metric": st.sampled_from((*found_runs.METRICS, "none")),
    "parameter": st.sampled_from((*found_runs.PARAMS, "none")),
    "tag": st.sampled_from((*found_runs.TAGS, "none", "mlflow.runName")),
}
_attributes = dict(RUNS.entities["attribute"].fields)  # type: ignore[union-attr]
_fields = st.one_of(
    *(st.builds(Field, st.just(entity), keys) for entity, keys in _keys.items()),
    st.builds(Field, st.just("attribute"), st.sampled_from(sorted(_attributes))),
)
_datasets = st.builds(Field, st.just("dataset"), st.sampled_from(("name", "digest", "context")))
_texts = {
    "run_id": st.sampled_from(found_runs.IDS[:8]),
    "status": st.sampled_from(found_runs.STATUSES),
    "run_name": st.sampled_from(("a", "b", "B")),
    "user_id": st.sampled_from(("ada", "")),
    "name": st.sampled_from(("train", "x" * 130, "")),
    "digest": st.sampled_from(("d1", "d2")),
    "context": st.sampled_from(("training", "eval")),
}
_times = st.sampled_from((0, found_runs.START_MS, found_runs.START_MS + 7, found_runs.START_MS + 7.5, 1 << 70, -1e400))


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    """A comparison of any field by any operator that it takes."""
    field = draw(_fields | _datasets)
    fields = RUNS.entities[field.entity].fields
    operator = draw(st.sampled_from((fields if isinstance(fields, Kind) else fields[field.key]).operators))
    texts = _texts.get(field.key, st.sampled_from(found_runs.TEXTS))
    if operator in ("IS NULL", "IS NOT NULL"):
        return Comparison(field, operator, None, 1)
    if operator in ("IN", "NOT IN"):
        return Comparison(field, operator, tuple(draw(st.lists(texts, min_size=1, max_size=3))), 1)
    if operator in ("LIKE", "ILIKE"):
        return Comparison(field, operator, draw(st.sampled_from(found_runs.PATTERNS)), 1)
    if field.entity == "metric":
        return Comparison(field, operator, draw(st.sampled_from(found_runs.NUMBERS[:-1])), 1)
    return Comparison(field, operator, draw(_times if field.key.endswith("_time") else texts), 1)


_terms: st.SearchStrategy[Term] = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Not, inner),
    ),
    max_leaves=5,
)
_orders = st.lists(st.builds(Order, _fields, st.booleans()), max_size=3, unique_by=lambda order: order.field)
_searches = st.builds(
    RunSearch,
    experiments=st.sampled_from(((1,), (1, 2), (1, 2, 3), (9,), (3,))),
    where=st.none() | _terms | st.builds(And, st.lists(comparisons(), min_size=2, max_size=4).map(tuple)),
    orders=_orders.map(tuple),
    deleted=st.sampled_from((False, False, True, None)),
    limit=st.sampled_from((1, 2, 7, 1_000)),
    after=st.none(),
)


class Bounds(NamedTuple):
    """What is small, how far is walked first, and how long a page may be: they choose the plan, not what is found."""

    small: int
    walked: int
    page_bytes: int


_bounds = st.builds(
    Bounds, st.sampled_from((0, 5, 1_000)), st.sampled_from((1, 10, 1_000)), st.sampled_from((1, 5_000, 32 << 20))
)


async def _found_as_the_model_finds_them(runs: Found, search: RunSearch, bounds: Bounds) -> None:
    expected = found_runs.find(search, runs.model)
    pages: list[str] = []
    with (
        mock.patch.object(find, "SMALL", bounds.small),
        mock.patch.object(walk, "first_walk", return_value=bounds.walked),
        mock.patch.object(query, "MAX_PAGE_BYTES", bounds.page_bytes),
    ):
        while True:
            page = await find_runs(runs.connection, search, runs.suffixes)
            found = json.loads(f"[{page['runs'] or ''}]")
            pages += [run["info"]["run_id"] for run in found]
            assert len(found) == page["shown"] <= min(search.limit, page["found"])
            if page["found"] == page["shown"]:
                break
            search = search._replace(after=json.loads(page["last"]))
    assert pages == expected


@SEARCHES
@given(_searches, _bounds)
async def test_any_plan_finds_what_the_model_finds(runs: Found, search: RunSearch, bounds: Bounds) -> None:
    await _found_as_the_model_finds_them(runs, search, bounds)


@pytest.mark.long
@MORE_SEARCHES
@given(_searches, _bounds)
async def test_any_plan_finds_what_the_model_finds_in_many_searches(
    runs: Found, search: RunSearch, bounds: Bounds
) -> None:
    await _found_as_the_model_finds_them(runs, search, bounds)
