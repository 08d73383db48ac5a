"""What a request for histories asks for, and the 400 for what it cannot ask for."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from runstream_schemas.errors import RequestError
from runstream_services.gateway import requests_metrics as asked
from runstream_services.gateway.fields import INT64_MAX, INT64_MIN

MISSING = "Missing value for required parameter '{}'. See the API docs for more information about request parameters."


def refusal(parse: Callable[[Any], object], sent: Any) -> str:
    with pytest.raises(RequestError) as caught:
        parse(sent)
    assert (caught.value.status, caught.value.code) == (400, "INVALID_PARAMETER_VALUE")
    return caught.value.message


def test_the_history_of_a_metric_is_asked_for_in_pages_or_whole() -> None:
    query = [("run_id", "r"), ("metric_key", "a//b")]
    assert asked.parse_get_metric_history(query) == asked.GetMetricHistory("r", "a//b", None, None)
    paged = [("run_uuid", "r"), ("metric_key", "a"), ("max_results", "25000"), ("page_token", "t")]
    assert asked.parse_get_metric_history(paged) == asked.GetMetricHistory("r", "a", 25_000, "t")
    assert asked.parse_get_metric_history([*query, ("page_token", "")]).page_token is None


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ([("metric_key", "a")], MISSING.format("run_id")),
        ([("run_id", "r")], MISSING.format("metric_key")),
        ([("run_id", "r"), ("metric_key", "a"), ("max_results", "0")], "Invalid value 0 for parameter 'max_results'"),
        ([("run_id", "r"), ("metric_key", "a"), ("max_results", "")], "Invalid value \"\" for parameter 'max_results'"),
        ([("run_id", "r"), ("metric_key", "a\x00")], "parameter 'metric_key' supplied: it holds the character U+0000"),
    ],
)
def test_a_bad_question_for_a_history_is_refused(query: list[tuple[str, str]], said: str) -> None:
    assert said in refusal(asked.parse_get_metric_history, query)


def test_a_bulk_history_has_a_limit_for_all_runs_together() -> None:
    query = [("run_id", "b"), ("run_id", "a"), ("metric_key", "")]
    assert asked.parse_get_metric_history_bulk(query) == asked.GetMetricHistoryBulk(["b", "a"], "", 25_000)
    for sent, limit in (("0", 0), ("7", 7), ("99999", 25_000)):
        assert asked.parse_get_metric_history_bulk([*query, ("max_results", sent)]).max_results == limit


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ([("metric_key", "a")], "must specify at least one value of 'run_id'"),
        ([("run_id", "r")] * 101, "cannot specify more than 100 values of 'run_id'; it has 101"),
        ([("run_id", "r")], "must specify a metric_key"),
        ([("run_id", "r"), ("metric_key", "a"), ("max_results", "-1")], "-1 for parameter 'max_results'"),
        ([("run_id", "r"), ("metric_key", "a"), ("max_results", "x")], "\"x\" for parameter 'max_results'"),
    ],
)
def test_a_bad_question_for_a_bulk_history_is_refused(query: list[tuple[str, str]], said: str) -> None:
    assert said in refusal(asked.parse_get_metric_history_bulk, query)


RUN = [("run_ids", "r"), ("metric_key", "a")]


def test_an_interval_has_both_ends_or_none() -> None:
    whole = asked.GetMetricHistoryBulkInterval(["r"], "a", INT64_MIN, INT64_MAX, 2500)
    assert asked.parse_get_metric_history_bulk_interval(RUN) == whole
    steps = [("start_step", str(INT64_MIN)), ("end_step", str(INT64_MAX)), ("max_results", "1")]
    found = asked.parse_get_metric_history_bulk_interval([("run_ids", "q"), *RUN, *steps])
    assert found == asked.GetMetricHistoryBulkInterval(["q", "r"], "a", INT64_MIN, INT64_MAX, 1)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ([("metric_key", "a")], "must specify at least one value of 'run_ids'"),
        ([*RUN, *[("run_ids", "r")] * 100], "cannot specify more than 100 values of 'run_ids'; it has 101"),
        ([("run_ids", "r")], MISSING.format("metric_key")),
        ([("run_ids", "r"), ("metric_key", "")], MISSING.format("metric_key")),
        ([*RUN, ("max_results", "0")], "max_results must be between 1 and 2500"),
        ([*RUN, ("max_results", "2501")], "max_results must be between 1 and 2500"),
        ([*RUN, ("start_step", "1")], "both must be specified"),
        ([*RUN, ("end_step", "1")], "both must be specified"),
        ([*RUN, ("start_step", "2"), ("end_step", "1")], "start_step=2 and end_step=1"),
        ([*RUN, ("start_step", "a"), ("end_step", "1")], "parameter 'start_step'"),
        ([*RUN, ("start_step", "1"), ("end_step", str(1 << 63))], "parameter 'end_step'"),
    ],
)
def test_a_bad_question_for_an_interval_is_refused(query: list[tuple[str, str]], said: str) -> None:
    assert said in refusal(asked.parse_get_metric_history_bulk_interval, query)


def test_columns_are_asked_for_by_query_or_by_body() -> None:
    query = [("run_ids", "r"), ("run_ids", "q"), ("run_ids", "r"), ("keys", "a"), ("end_step", "-1")]
    body = {"run_ids": ["r", "q", "r"], "keys": ["a"], "end_step": -1, "start_step": None}
    found = asked.GetMetricColumns(["r", "q"], ["a"], INT64_MIN, -1, None)
    assert asked.parse_get_metric_columns_query(query) == found
    assert asked.parse_get_metric_columns(json.dumps(body).encode()) == found
    assert asked.parse_get_metric_columns_query([*query, ("max_points", "5")]).max_points == 5


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"run_ids": []}, "at least one value of 'run_ids'"),
        ({"keys": None}, "at least one value of 'keys'"),
        ({"run_ids": ["r"] * 101}, "more than 100 values of 'run_ids'"),
        ({"keys": ["k"] * 101}, "more than 100 values of 'keys'"),
        ({"run_ids": [f"r{at}" for at in range(100)], "keys": [f"k{at}" for at in range(11)]}, "1100 series"),
        ({"max_points": 4}, "max_points must be between 5 and 10000"),
        ({"max_points": 10_001}, "max_points must be between 5 and 10000"),
        ({"start_step": 1, "end_step": 0}, "start_step=1 and end_step=0"),
        ({"keys": "k"}, "parameter 'keys'"),
        ({"run_ids": ["r", 1]}, "parameter 'run_ids[1]'"),
    ],
)
def test_a_bad_question_for_columns_is_refused(fields: dict[str, Any], said: str) -> None:
    body = {"run_ids": ["r"], "keys": ["k"], **fields}
    assert said in refusal(asked.parse_get_metric_columns, json.dumps(body).encode())
