"""What runs use and make, logged by MLflow's own client, is there as on a stock store; after a kill, too."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.command import RUNSTREAM
from tests.e2e.client import Script
from tests.server import Server


@pytest.fixture(scope="module")
def found(standing_server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """What one script found here, and what it found on a stock store."""
    directory = tmp_path_factory.mktemp("uses")
    with (
        Script("uses", standing_server.url, directory / "here") as here,
        Script("uses", f"sqlite:///{directory}/stock.db", directory / "stock") as stock,
    ):
        return here.found(), stock.found()


@pytest.mark.parametrize("what", ["runs", "summaries", "refusals"])
def test_the_client_sees_what_it_sees_on_a_stock_store(found: tuple[dict[str, Any], dict[str, Any]], what: str) -> None:
    here, stock = found
    assert here[what] == stock[what]
    assert here[what]


def test_the_script_saw_something(found: tuple[dict[str, Any], dict[str, Any]]) -> None:
    training, other_source, models, elsewhere = found[0]["runs"]
    assert [(use[0], use[6]) for use in training["uses"]] == [
        ("array", []),
        ("held out", []),
        ("wine", [["mlflow.data.context", "training"], ["split", "1 ✓"]]),
    ]
    assert "wine.csv" in other_source["uses"][0][3]
    assert "elsewhere.csv" in elsewhere["uses"][0][3]
    assert (models["models"], models["makes"]) == (["m-1", "m-2"], [["m-3", 7], ["m-4", 0]])
    assert [model["artifact_path"] for model in models["history"]] == ["a", "b é"]
    assert len(found[0]["summaries"][1]) == 6


class Calls:
    """A run on a server, and its calls."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.experiment = server.post("experiments/create", {"name": f"uses {id(self)}"}).json()["experiment_id"]
        self.run = self.new_run()

    def new_run(self) -> str:
        run = self.server.post("runs/create", {"experiment_id": self.experiment}).json()["run"]
        assert run["inputs"] == {}
        run_id: str = run["info"]["run_id"]
        return run_id

    def log(self, path: str, **fields: Any) -> httpx.Response:
        return self.server.post(f"runs/{path}", {"run_id": self.run, **fields})

    def shown(self) -> tuple[Any, Any]:
        """(inputs, outputs), the same in runs/get and runs/search."""
        alone = self.server.get("runs/get", run_id=self.run).json()["run"]
        listed = self.server.post("runs/search", {"experiment_ids": [self.experiment]}).json()["runs"]
        assert alone in listed
        return alone["inputs"], alone["outputs"]

    def history(self) -> str | None:
        tags = self.server.get("runs/get", run_id=self.run).json()["run"]["data"]["tags"]
        return {tag["key"]: tag["value"] for tag in tags}.get("mlflow.log-model.history")

    def summaries(self) -> list[Any]:
        url = f"{self.server.url}/ajax-api/2.0/mlflow/experiments/search-datasets"
        answer = httpx.post(url, json={"experiment_ids": [self.experiment]}, timeout=60)
        assert answer.status_code == 200
        summaries: list[Any] = answer.json().get("dataset_summaries", [])
        return summaries


@pytest.fixture
def calls(standing_server: Server) -> Calls:
    return Calls(standing_server)


def dataset(name: str, digest: str = "1", **more: Any) -> dict[str, Any]:
    return {"name": name, "digest": digest, "source_type": "local", "source": "s", **more}


def context(value: str) -> list[dict[str, str]]:
    return [{"key": "mlflow.data.context", "value": value}]


def test_a_run_shows_its_inputs_in_the_order_in_which_they_were_logged(calls: Calls) -> None:
    odd = 'a "\\\n\u2028\U0001f377'
    assert calls.log("log-inputs").status_code == 200
    assert calls.shown() == ({}, {})
    calls.log("log-inputs", datasets=[{"dataset": dataset("z", schema=odd), "tags": [{"key": odd, "value": odd}]}])
    calls.log("log-inputs", datasets=[{"dataset": dataset("b")}, {"dataset": dataset("a")}], models=[{"model_id": odd}])
    calls.log("log-inputs", datasets=[{"dataset": dataset("z", source="other"), "tags": context("late")}])
    inputs, outputs = calls.shown()
    assert inputs == {
        "dataset_inputs": [
            {"tags": [{"key": odd, "value": odd}], "dataset": dataset("z", schema=odd)},
            {"dataset": dataset("b")},
            {"dataset": dataset("a")},
        ],
        "model_inputs": [{"model_id": odd}],
    }
    assert outputs == {}


def test_an_output_that_is_sent_again_changes_nothing(calls: Calls) -> None:
    for step in (3, 3, 4):
        assert calls.log("outputs", models=[{"model_id": "m-1", "step": step}]).status_code == 200
    assert calls.log("outputs", models=[{"model_id": "m-2"}, {"model_id": "m-2", "step": 1}]).status_code == 200
    assert calls.log("outputs", models=[]).status_code == 200
    outputs = {"model_outputs": [{"model_id": "m-1", "step": 3}, {"model_id": "m-2", "step": 0}]}
    assert calls.shown() == ({}, outputs)


def test_a_search_finds_each_context_once_and_a_thousand_at_most(calls: Calls) -> None:
    assert calls.summaries() == []
    for value in ("train", "eval", "train"):
        calls.run = calls.new_run()
        calls.log("log-inputs", datasets=[{"dataset": dataset("a"), "tags": context(value)}])
    calls.run = calls.new_run()
    calls.log("log-inputs", datasets=[{"dataset": dataset("a")}, {"dataset": dataset("a", "2")}])
    known = {"experiment_id": calls.experiment, "name": "a", "digest": "1"}
    assert calls.summaries() == [
        {**known, "context": "eval"},
        {**known, "context": "train"},
        known,
        {**known, "digest": "2"},
    ]
    calls.log("log-inputs", datasets=[{"dataset": dataset(f"d{at}")} for at in range(1200)])
    assert len(calls.summaries()) == 1000
    assert len(calls.shown()[0]["dataset_inputs"]) == 1202


def test_a_search_of_datasets_is_for_the_web_pages_alone(standing_server: Server) -> None:
    answer = standing_server.post("experiments/search-datasets", {"experiment_ids": ["0"]})
    assert (answer.status_code, answer.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")
    url = f"{standing_server.url}/ajax-api/2.0/mlflow/experiments/search-datasets"
    for ids in ([], ["0"] * 21, ["x"]):
        answer = httpx.post(url, json={"experiment_ids": ids}, timeout=60)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert httpx.post(url, json={"experiment_ids": ["987654"]}, timeout=60).json() == {}


def model(path: str) -> str:
    return f'{{"artifact_path": "{path}", "flavors": {{}}, "utc_time_created": "t", "run_id": "r"}}'


def test_a_history_of_models_that_is_full_or_no_list_refuses_more(calls: Calls) -> None:
    assert calls.log("log-model", model_json=model("a" * 4000)).status_code == 200
    before = calls.history()
    refused = calls.log("log-model", model_json=model("b" * 4000))
    assert (refused.status_code, refused.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "mlflow.log-model.history" in refused.json()["message"]
    assert calls.history() == before
    for value in ("", "{}", "[1"):
        assert calls.log("set-tag", key="mlflow.log-model.history", value=value).status_code == 200
        assert calls.log("log-model", model_json=model("c")).status_code == 400
    assert calls.log("delete-tag", key="mlflow.log-model.history").status_code == 200
    assert calls.log("log-model", model_json=model("d")).status_code == 200
    assert calls.log("delete-tag", key="mlflow.log-model.history").status_code == 200
    assert calls.history() is None


def test_models_that_are_logged_at_the_same_time_are_all_listed(calls: Calls) -> None:
    paths = [f"m{at}" for at in range(40)]
    with ThreadPoolExecutor(10) as writers:
        answers = writers.map(lambda path: calls.log("log-model", model_json=model(path)).status_code, paths)
        assert set(answers) == {200}
    assert sorted(listed["artifact_path"] for listed in json.loads(calls.history() or "")) == sorted(paths)


def test_a_kill_and_a_rebuild_leave_inputs_and_outputs_as_they_were(calls: Calls) -> None:
    server = calls.server
    big = "".join(chr(0x20000 + 7919 * at % 40_000) for at in range(100_000))
    calls.log("log-inputs", datasets=[{"dataset": dataset("big", profile=big), "tags": context("train")}])
    calls.log("outputs", models=[{"model_id": "m-1", "step": 1}])
    assert calls.log("log-model", model_json=model("a")).status_code == 200
    server.kill()
    server.start()
    shown, summaries, history = calls.shown(), calls.summaries(), calls.history()
    assert shown[0]["dataset_inputs"] == [{"dataset": dataset("big", profile=big), "tags": context("train")}]
    assert shown[1] == {"model_outputs": [{"model_id": "m-1", "step": 1}]}
    assert (len(summaries), "artifact_path" in (history or "")) == (1, True)
    command = [RUNSTREAM, "rebuild", "inputs", "outputs", "runs", "--data", str(server.data)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert (calls.shown(), calls.summaries(), calls.history()) == (shown, summaries, history)
