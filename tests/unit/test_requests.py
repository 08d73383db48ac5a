"""Each endpoint about experiments and runs: what a request asks for, and the 400 for what it cannot ask for.

Filters and orders as such are in ``test_search_parse.py``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from runstream_projections.search.syntax import Comparison, Field, Order
from runstream_schemas.errors import RequestError
from runstream_services.gateway import requests_experiments as experiments
from runstream_services.gateway import requests_runs as runs

MISSING = "Missing value for required parameter '{}'. See the API docs for more information about request parameters."


def refusal(parse: Callable[[Any], object], sent: Any) -> str:
    with pytest.raises(RequestError) as caught:
        parse(sent if isinstance(sent, list | bytes) else json.dumps(sent).encode())
    assert (caught.value.status, caught.value.code) == (400, "INVALID_PARAMETER_VALUE")
    caught.value.message.encode()  # can be sent
    return caught.value.message


def ask(parse: Callable[[bytes], Any], **fields: Any) -> Any:
    return parse(json.dumps(fields).encode())


@pytest.mark.parametrize(
    ("parse", "fields", "expected"),
    [
        (experiments.parse_delete_experiment, {"experiment_id": "3"}, experiments.DeleteExperiment(3)),
        (experiments.parse_restore_experiment, {"experimentId": "3"}, experiments.RestoreExperiment(3)),
        (
            experiments.parse_update_experiment,
            {"experiment_id": "3", "new_name": "x" * 500},
            experiments.UpdateExperiment(3, "x" * 500),
        ),
        (
            experiments.parse_set_experiment_tag,
            {"experiment_id": "3", "key": "a", "value": "b"},
            experiments.SetExperimentTag(3, "a", "b"),
        ),
        (
            experiments.parse_set_experiment_tag,
            {"experiment_id": "3", "key": "a"},
            experiments.SetExperimentTag(3, "a", ""),
        ),
        (
            experiments.parse_delete_experiment_tag,
            {"experiment_id": "3", "key": "a//b"},
            experiments.DeleteExperimentTag(3, "a//b"),
        ),
        (runs.parse_delete_run, {"run_id": "r"}, runs.DeleteRun("r")),
        (runs.parse_restore_run, {"runId": "r"}, runs.RestoreRun("r")),
        (runs.parse_delete_tag, {"run_id": "r", "key": "a//b"}, runs.DeleteTag("r", "a//b")),
    ],
)
def test_a_plain_request_is_read(parse: Callable[[bytes], object], fields: dict[str, Any], expected: object) -> None:
    assert ask(parse, **fields) == expected


@pytest.mark.parametrize(
    ("parse", "fields", "said"),
    [
        (experiments.parse_delete_experiment, {}, MISSING.format("experiment_id")),
        (experiments.parse_restore_experiment, {"experiment_id": ""}, MISSING.format("experiment_id")),
        (experiments.parse_delete_experiment, {"experiment_id": "x"}, 'Invalid experiment ID "x"'),
        (experiments.parse_delete_experiment, {"experiment_id": 3}, "Invalid value 3 for parameter 'experiment_id'"),
        (experiments.parse_update_experiment, {"experiment_id": "3"}, MISSING.format("new_name")),
        (
            experiments.parse_update_experiment,
            {"experiment_id": "3", "new_name": "x" * 501},
            "'new_name' exceeds the maximum length of 500 characters",
        ),
        (experiments.parse_set_experiment_tag, {"experiment_id": "3", "value": "x"}, MISSING.format("key")),
        (
            experiments.parse_set_experiment_tag,
            {"experiment_id": "3", "key": "a", "value": "x" * 20_001},
            "'value' exceeds the maximum length of 20000 characters",
        ),
        (experiments.parse_set_experiment_tag, {"experiment_id": "3", "key": "/a"}, "parameter 'key' supplied: Names"),
        (experiments.parse_delete_experiment_tag, {"experiment_id": "3"}, MISSING.format("key")),
        (runs.parse_delete_run, {"run_uuid": "r"}, MISSING.format("run_id")),
        (runs.parse_restore_run, {}, MISSING.format("run_id")),
        (runs.parse_delete_tag, {"run_id": "r"}, MISSING.format("key")),
        (runs.parse_delete_tag, {"run_uuid": "r", "key": "a"}, MISSING.format("run_id")),
        (runs.parse_delete_tag, {"run_id": "r", "key": "a\x00"}, "parameter 'key' supplied: it holds the character"),
    ],
)
def test_a_plain_request_is_refused_by_name(
    parse: Callable[[bytes], object], fields: dict[str, Any], said: str
) -> None:
    assert said in refusal(parse, fields)


def test_an_experiment_is_created_with_what_was_sent() -> None:
    tags = [{"key": "a", "value": "1"}, {"key": "b"}, {"key": "a", "value": "x" * 20_000}]
    assert ask(
        experiments.parse_create_experiment, name="n", artifact_location="s3://b/x", tags=tags
    ) == experiments.CreateExperiment("n", "s3://b/x", {"a": "x" * 20_000, "b": ""})
    assert ask(experiments.parse_create_experiment, name="é" * 500, artifact_location="") == (
        experiments.CreateExperiment("é" * 500, None, {})
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, MISSING.format("name")),
        ({"name": ""}, MISSING.format("name")),
        ({"name": 123}, "Invalid value 123 for parameter 'name' supplied"),
        ({"name": "x" * 501}, "'name' exceeds the maximum length of 500 characters"),
        ({"name": "n", "artifact_location": 9.0}, "Invalid value 9.0 for parameter 'artifact_location'"),
        ({"name": "n", "artifact_location": "runs:/a"}, "parameter 'artifact_location' supplied: Artifact location"),
        ({"name": "n", "artifact_location": "http://h/x"}, "'artifact_location' cannot use the 'http' scheme"),
        ({"name": "n", "tags": "5"}, "Invalid value \"5\" for parameter 'tags'"),
        ({"name": "n", "tags": [{"key": "a"}, {"key": "/a"}]}, "for parameter 'tags[1].key' supplied"),
        ({"name": "n", "tags": [{"value": "a"}]}, "Invalid value \"\" for parameter 'tags[0].key' supplied"),
        ({"name": "n", "tags": [{"key": "a", "value": "x" * 20_001}]}, "'tags[0].value' exceeds the maximum length"),
        (
            {"name": "n", "tags": [{"key": f"mlflow.customView.view{at}"} for at in range(51)]},
            "maximum number of custom views",
        ),
    ],
)
def test_an_experiment_that_cannot_be_created_is_refused(fields: dict[str, Any], said: str) -> None:
    assert said in refusal(experiments.parse_create_experiment, fields)


def test_an_experiment_is_asked_for_by_id_or_name() -> None:
    assert experiments.parse_get_experiment([("experiment_id", "0")]) == experiments.GetExperiment(0)
    by_name = experiments.parse_get_experiment_by_name([("experiment_name", "a b")])
    assert by_name == experiments.GetExperimentByName("a b")
    assert refusal(experiments.parse_get_experiment, [("experimentId", "0")]) == MISSING.format("experiment_id")
    assert refusal(experiments.parse_get_experiment_by_name, []) == MISSING.format("experiment_name")


def test_experiments_are_searched_by_body_and_by_query() -> None:
    expected = experiments.SearchExperiments(
        view_type="ALL",
        max_results=25,
        where=Comparison(Field("attribute", "name"), "ILIKE", "%a%", 1),
        orders=(Order(Field("attribute", "last_update_time"), False),),
        page_token="t",
    )
    fields = {"max_results": 25, "view_type": "ALL", "filter": "name ILIKE '%a%'", "page_token": "t"}
    assert ask(experiments.parse_search_experiments, **fields, order_by=["last_update_time DESC"]) == expected
    query = [(name, str(value)) for name, value in fields.items()] + [("order_by", "last_update_time DESC")]
    assert experiments.parse_search_experiments_query(query) == expected
    assert experiments.parse_search_experiments_query([*query[:1], ("view_type", "3"), *query[2:]]) == expected


def test_a_search_of_experiments_has_defaults() -> None:
    expected = experiments.SearchExperiments("ACTIVE_ONLY", 1, None, (), None)
    assert ask(experiments.parse_search_experiments, max_results="1", page_token="", filter="") == expected
    assert experiments.parse_search_experiments_query([("max_results", "1")]) == expected


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "Invalid value 0 for parameter 'max_results' supplied. It must be a positive integer"),
        ({"max_results": 0}, "must be a positive integer"),
        ({"max_results": 50_001}, "must be at most 50000"),
        ({"max_results": "x"}, "Invalid value \"x\" for parameter 'max_results' supplied: expected an integer"),
        ({"max_results": 1, "view_type": "active"}, "expected one of ACTIVE_ONLY, DELETED_ONLY, ALL"),
        ({"max_results": 1, "order_by": "name"}, "Invalid value \"name\" for parameter 'order_by' supplied"),
        ({"max_results": 1, "order_by": ["name", "x"]}, "Invalid attribute key 'x' at column 1 of order_by[1]"),
        ({"max_results": 1, "filter": "name = 'a' AND params.a = 'b'"}, "Invalid entity type 'params' at column 16"),
    ],
)
def test_a_bad_search_of_experiments_is_refused(fields: dict[str, Any], said: str) -> None:
    assert said in refusal(experiments.parse_search_experiments, fields)


def test_a_run_is_created_with_what_was_sent() -> None:
    tags = [{"key": "a@", "value": "1"}, {"key": "long", "value": "x" * 8001}, {"key": "a@", "value": "2"}]
    assert ask(
        runs.parse_create_run, experiment_id="7", user_id="u", start_time="5", run_name="n", tags=tags
    ) == runs.CreateRun(7, "u", 5, "n", {"a@": "2", "long": "x" * 8000}, 1)
    assert ask(runs.parse_create_run) == runs.CreateRun(0, "", None, None, {}, 0)
    assert ask(runs.parse_create_run, experiment_id="", start_time=0).start_time == 0


def test_a_runs_name_comes_by_argument_or_by_tag() -> None:
    tag = {"key": "mlflow.runName", "value": "n"}
    assert ask(runs.parse_create_run, tags=[tag]).run_name == "n"
    assert ask(runs.parse_create_run, run_name="", tags=[tag]).run_name == "n"
    assert ask(runs.parse_create_run, run_name="n", tags=[tag]).run_name == "n"
    assert ask(runs.parse_create_run, run_name="n", tags=[tag | {"value": ""}]).run_name == "n"
    assert ask(runs.parse_create_run, tags=[tag | {"value": "é" * 9000}]).run_name == "é" * 8000
    assert (
        "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values "
        "(run_name='m', mlflow.runName='n')."
    ) in refusal(runs.parse_create_run, {"run_name": "m", "tags": [tag]})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"experiment_id": "x"}, 'Invalid experiment ID "x"'),
        ({"experiment_id": 1}, "Invalid value 1 for parameter 'experiment_id' supplied"),
        ({"start_time": "x"}, "Invalid value \"x\" for parameter 'start_time' supplied"),
        ({"run_name": 5}, "Invalid value 5 for parameter 'run_name' supplied"),
        ({"run_name": "x" * 8001}, "'run_name' exceeds the maximum length of 8000 characters"),
        ({"user_id": "x" * 257}, "'user_id' exceeds the maximum length of 256 characters"),
        ({"tags": [{"key": "a"}, {"value": "b"}]}, MISSING.format("tags[1].key")),
        ({"tags": [{"key": "k" * 251}]}, "'tags[0].key' exceeds the maximum length of 250 characters"),
        ({"tags": [{"key": "a", "value": "\x00"}]}, "for parameter 'tags[0].value' supplied: it holds the character"),
    ],
)
def test_a_run_that_cannot_be_created_is_refused(fields: dict[str, Any], said: str) -> None:
    assert said in refusal(runs.parse_create_run, fields)


def test_a_run_is_asked_for_by_either_name_of_its_id() -> None:
    assert runs.parse_get_run([("run_id", "r")]) == runs.GetRun("r")
    assert runs.parse_get_run([("run_uuid", "r")]) == runs.GetRun("r")
    assert runs.parse_get_run([("run_uuid", "s"), ("run_id", "r")]) == runs.GetRun("r")
    assert refusal(runs.parse_get_run, [("run_id", "")]) == MISSING.format("run_id")


def test_an_empty_run_id_is_missing_whatever_its_alias_says_as_in_stock() -> None:
    assert refusal(runs.parse_get_run, [("run_id", ""), ("run_uuid", "r")]) == MISSING.format("run_id")
    assert refusal(runs.parse_update_run, {"run_id": "", "run_uuid": "r"}) == MISSING.format("run_id")


def test_an_update_tells_unset_from_zero() -> None:
    assert ask(runs.parse_update_run, run_id="r") == runs.UpdateRun("r", None, None, None)
    assert ask(runs.parse_update_run, run_uuid="r", status="FINISHED", end_time=0, run_name="n") == (
        runs.UpdateRun("r", "FINISHED", 0, "n")
    )
    assert ask(runs.parse_update_run, run_id="r", status=5, end_time=None, run_name="") == (
        runs.UpdateRun("r", "KILLED", None, None)
    )
    assert "expected one of RUNNING, SCHEDULED, FINISHED, FAILED, KILLED" in refusal(
        runs.parse_update_run, {"run_id": "r", "status": "DONE"}
    )
    assert refusal(runs.parse_update_run, {"status": 1}) == MISSING.format("run_id")


def test_runs_are_searched_in_experiments() -> None:
    assert ask(runs.parse_search_runs) == runs.SearchRuns((), "ACTIVE_ONLY", 1000, None, (), None)
    assert ask(
        runs.parse_search_runs,
        experiment_ids=["0", "12"],
        run_view_type="DELETED_ONLY",
        max_results=50_000,
        page_token="t",
        filter="metrics.a > 1",
        order_by=["start_time"],
    ) == runs.SearchRuns(
        (0, 12),
        "DELETED_ONLY",
        50_000,
        Comparison(Field("metric", "a"), ">", 1.0, 1),
        (Order(Field("attribute", "start_time"), True),),
        "t",
    )
    assert ask(runs.parse_search_runs, experiment_ids=["1", "0", "1"], filter="", order_by=[]) == runs.SearchRuns(
        (1, 0), "ACTIVE_ONLY", 1000, None, (), None
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"max_results": 0}, "must be a positive integer"),
        ({"max_results": 123456789}, "Invalid value 123456789 for parameter 'max_results' supplied"),
        ({"max_results": 2**31}, "expected a 32-bit integer"),
        ({"experiment_ids": ["0", "x"]}, "experiment_ids[1]"),
        ({"experiment_ids": "0"}, "Invalid value \"0\" for parameter 'experiment_ids' supplied"),
        ({"filter": "metrics.a > 'x'"}, "Expected numeric value type for metric 'a' at column 13"),
        ({"filter": " "}, "Invalid filter at column 2: expected"),
        ({"filter": 5}, "Invalid value 5 for parameter 'filter' supplied"),
        ({"order_by": ["start_time", "foo"]}, "Invalid attribute key 'foo' at column 1 of order_by[1]"),
        ({"order_by": "start_time"}, "Invalid value \"start_time\" for parameter 'order_by' supplied"),
    ],
)
def test_a_bad_search_of_runs_is_refused(fields: dict[str, Any], said: str) -> None:
    assert said in refusal(runs.parse_search_runs, fields)
