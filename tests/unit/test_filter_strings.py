"""Strings of filters end where stock MLflow ends them."""

from __future__ import annotations

import pytest
from mlflow.utils.search_utils import SearchUtils

from runstream_projections.search.parse import parse_filter
from runstream_projections.search.syntax import And
from runstream_projections.search.terms import RUNS


@pytest.mark.parametrize(
    "first",
    ['"x"', "'x'", '"it\'s"', "'say \"x\"'", '"a""b"', "'it''s'", '"a\\"b"', "'a\\'b'", '""', "''", '"back\\\\slash"'],
)
@pytest.mark.parametrize("second", ['"y"', "'y'"])
def test_a_string_ends_at_its_own_quote(first: str, second: str) -> None:
    text = f"params.a = {first} and params.`b` = {second}"
    term = parse_filter(text, RUNS)
    assert isinstance(term, And)
    assert [found.value for found in term.terms] == [found["value"] for found in SearchUtils.parse_search_filter(text)]
