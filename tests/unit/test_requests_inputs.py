"""What calls about datasets and models ask for; what stock keeps of a model is asked of MLflow itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mlflow.models import Model
from mlflow.utils import validation

from runstream_schemas.errors import RequestError
from runstream_schemas.events import Dataset, DatasetInput, ModelOutput
from runstream_services.gateway import requests_inputs as requests
from runstream_services.gateway import rules

RUN = "0" * 32
MADE = "2026-01-02 03:04:05.000600"
MODEL = {"artifact_path": "m", "flavors": {}, "utc_time_created": MADE, "run_id": RUN}


def body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_inputs_are_what_was_sent_and_empty_where_nothing_was() -> None:
    whole = {"name": "n", "digest": "d", "source_type": "t", "source": "s", "schema": "{}", "profile": "[]"}
    tags = [{"key": "b", "value": "1"}, {"key": "a"}]
    asked = requests.parse_log_inputs(
        body(run_id=RUN, datasets=[{"dataset": whole, "tags": tags}, {}], models=[{"model_id": "m-1"}, {}])
    )
    assert asked.datasets == [
        DatasetInput(Dataset("n", "d", "t", "s", "{}", "[]"), {"b": "1", "a": ""}),
        DatasetInput(Dataset("", "", "", "")),
    ]
    assert list(asked.datasets[0].tags) == ["b", "a"]
    assert asked.models == ["m-1", ""]
    assert requests.parse_log_inputs(body(run_id=RUN)) == requests.LogInputs(RUN, [], [])
    camel = requests.parse_log_inputs(body(runId=RUN, models=[{"modelId": "m"}], unknown=1))
    assert camel == requests.LogInputs(RUN, [], ["m"])


def test_an_empty_schema_is_none_as_stock_shows_it() -> None:
    asked = requests.parse_log_inputs(body(run_id=RUN, datasets=[{"dataset": {"schema": "", "profile": ""}}]))
    assert asked.datasets == [DatasetInput(Dataset("", "", "", ""))]


def test_the_limits_are_those_of_mlflow() -> None:
    limits = {name: limit for name, limit in rules.DATASET_LIMITS.items() if name != "source_type"}
    assert limits == {name: getattr(validation, f"MAX_DATASET_{name.upper()}_SIZE") for name in limits}
    assert rules.MAX_INPUT_TAG_KEY == validation.MAX_INPUT_TAG_KEY_SIZE
    assert rules.MAX_INPUT_TAG_VALUE == validation.MAX_INPUT_TAG_VALUE_SIZE


@pytest.mark.parametrize("name", rules.DATASET_LIMITS)
def test_a_field_of_a_dataset_may_be_as_long_as_its_limit(name: str) -> None:
    longest = "x" * rules.DATASET_LIMITS[name]
    [found] = requests.parse_log_inputs(body(run_id=RUN, datasets=[{"dataset": {name: longest}}])).datasets
    assert getattr(found.dataset, name) == longest
    with pytest.raises(RequestError, match=f"'{name}' exceeds the maximum length"):
        requests.parse_log_inputs(body(run_id=RUN, datasets=[{"dataset": {name: longest + "x"}}]))


def test_outputs_have_a_step() -> None:
    asked = requests.parse_log_outputs(body(run_id=RUN, models=[{"model_id": "m-1", "step": "-3"}, {"model_id": "m"}]))
    assert asked == requests.LogOutputs(RUN, [ModelOutput("m-1", -3), ModelOutput("m", 0)])
    assert requests.parse_log_outputs(body(run_id=RUN, models=[])) == requests.LogOutputs(RUN, [])


@pytest.mark.parametrize(
    "model",
    [
        MODEL,
        {**MODEL, "model_uuid": "u", "mlflow_version": "3", "unknown": [1]},
        {**MODEL, "artifact_path": None, "run_id": None, "utc_time_created": 5, "flavors": None},
        {**MODEL, "flavors": {"sklearn": {"a": [1.5, None], "config": {"b": 1}}, "odd": "é \ud800 \u0000"}},
        {**MODEL, "artifact_path": {"any": "thing"}, "run_id": 0, "model_uuid": False},
    ],
    ids=["plain", "more", "nothing", "flavors", "types"],
)
def test_a_model_is_listed_as_stock_lists_it(model: dict[str, Any]) -> None:
    entry = requests.parse_log_model(body(run_id=RUN, model_json=json.dumps(model)), now_ms=0).entry
    assert entry == json.dumps(Model.from_dict(json.loads(json.dumps(model))).get_tags_dict())


def test_a_model_without_a_time_was_made_now() -> None:
    model = json.dumps({**MODEL, "utc_time_created": ""})
    entry = requests.parse_log_model(body(run_id=RUN, model_json=model), now_ms=1_767_225_600_250).entry
    assert json.loads(entry)["utc_time_created"] == "2026-01-01 00:00:00.250000"


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([], "at least one experiment_id"),
        (["1"] * 21, "more than 20 experiment_ids. Received 21"),
        (["0", "x"], "experiment_ids[1]"),
    ],
)
def test_a_search_of_datasets_names_some_experiments(ids: list[str], words: str) -> None:
    with pytest.raises(RequestError) as caught:
        requests.parse_search_datasets(body(experiment_ids=ids))
    assert caught.value.code == "INVALID_PARAMETER_VALUE"
    assert words in caught.value.message
    assert requests.parse_search_datasets(body(experiment_ids=["0", "7"])) == requests.SearchDatasets([0, 7])
