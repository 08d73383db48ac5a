"""Bad input gets a clear 4xx in MLflow's JSON shape, stores nothing, and leaves the server as it was.

Where stock MLflow swallows bad input (it goes on with half a message) or answers a permanent error with a 5xx, this
holds to the rule behind it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.bad_input import EXPERIMENT, GETS, POSTS, RUN, Call, Wrong, as_json, changed, wrong_types
from tests.server import Server

UNKNOWN_RUN = "0" * 32
UNKNOWN_EXPERIMENT = "999999"
INVALID = "INVALID_PARAMETER_VALUE"
MISSING = "RESOURCE_DOES_NOT_EXIST"
POINT = {"key": "m", "value": 1, "timestamp": 1}


class Target:
    """A server with one experiment, called ``known``, and one run in it, and all that its answers say of them."""

    def __init__(self, server: Server, client: httpx.Client) -> None:
        self.server = server
        self.client = client
        self.experiment = self.post("experiments/create", {"name": "known"}).json()["experiment_id"]
        self.post("experiments/set-experiment-tag", {"experiment_id": self.experiment, "key": "k", "value": "v"})
        run = self.post("runs/create", {"experiment_id": self.experiment, "tags": [{"key": "given", "value": "1"}]})
        self.run = run.json()["run"]["info"]["run_id"]
        known = {"key": "known", "value": "1"}
        batch = {"run_id": self.run, "metrics": [{**POINT, "key": "known"}], "params": [known], "tags": [known]}
        assert self.post("runs/log-batch", batch).status_code == 200
        self.before = self.everything()

    def body(self, fields: object) -> bytes:
        """A body, with the experiment and the run in their places."""
        return (
            as_json(fields)
            .replace(RUN.encode(), self.run.encode())
            .replace(EXPERIMENT.encode(), self.experiment.encode())
        )

    def post(self, path: str, fields: object) -> httpx.Response:
        return self.send(path, as_json(fields))

    def send(self, path: str, body: bytes) -> httpx.Response:
        return self.client.post(path, content=body, headers={"content-type": "application/json"})

    def everything(self) -> list[str]:
        """All that the server answers about what it holds."""
        everywhere = {"experiment_ids": ["0", self.experiment], "run_view_type": "ALL"}
        answers = [
            self.post("experiments/search", {"max_results": 1000, "view_type": "ALL"}),
            self.post("runs/search", everywhere),
            self.client.get("runs/get", params={"run_id": self.run}),
            *(
                self.client.get("metrics/get-history", params={"run_id": self.run, "metric_key": key})
                for key in ("known", "m")
            ),
        ]
        assert [answer.status_code for answer in answers] == [200] * len(answers)
        return [answer.text for answer in answers]

    def assert_refused(self, answer: httpx.Response, code: str, status: int, *fields: str) -> None:
        """The answer is the error, it names the fields, nothing is stored, and a normal call works."""
        assert answer.headers["content-type"] == "application/json"
        body = answer.json()
        assert (answer.status_code, body["error_code"]) == (status, code), body
        assert set(body) == {"error_code", "message"}
        for field in fields:
            assert field in body["message"]
        assert len(body["message"]) < 2_000
        again = self.post("runs/log-metric", {"run_id": self.run, **POINT, "key": "known"})
        assert (again.status_code, again.json()) == (200, {})
        assert self.everything() == self.before


@pytest.fixture(scope="module")
def target(standing_server: Server) -> Iterator[Target]:
    """The server that every bad call goes to."""
    with httpx.Client(base_url=f"{standing_server.url}/api/2.0/mlflow/", timeout=60) as client:
        yield Target(standing_server, client)


@pytest.mark.parametrize("wrong", list(wrong_types()), ids=str)
def test_a_value_of_a_wrong_type_is_refused_by_its_name(target: Target, wrong: Wrong) -> None:
    answer = target.send(wrong.path, target.body(wrong.fields))
    target.assert_refused(answer, INVALID, 400, wrong.field)


@pytest.mark.parametrize("call", POSTS, ids=lambda call: call.path)
def test_a_body_that_is_no_json_object_is_refused(target: Target, call: Call) -> None:
    body = target.body(call.fields)
    wrong = [body[:-1], body[: len(body) // 2], b"{", body + b"x", b"[]", b"5", b'"abc"', b'"[]"', b"\xff\xfe\xfd"]
    wrong += [b'{"a": ' + b"[" * 100_000, b'{"a": ' * 100_000, b'{"a": ' + b"9" * 5000 + b"}"]
    for bad in wrong:
        target.assert_refused(target.send(call.path, bad), INVALID, 400, "body")


@pytest.mark.parametrize("call", POSTS, ids=lambda call: call.path)
def test_a_field_that_is_given_in_both_spellings_is_refused(target: Target, call: Call) -> None:
    for name, value in call.fields.items():
        head, *rest = name.split("_")
        twin = head + "".join(word.capitalize() for word in rest)
        if twin != name:
            answer = target.send(call.path, target.body({**call.fields, twin: value}))
            target.assert_refused(answer, INVALID, 400, f"'{name}'", f"'{twin}'")


@pytest.mark.parametrize(
    ("path", "required"),
    [
        ("experiments/create", ["name"]),
        ("experiments/search", ["max_results"]),
        ("experiments/update", ["experiment_id", "new_name"]),
        ("experiments/delete", ["experiment_id"]),
        ("experiments/restore", ["experiment_id"]),
        ("experiments/set-experiment-tag", ["experiment_id", "key"]),
        ("experiments/delete-experiment-tag", ["experiment_id", "key"]),
        ("runs/update", ["run_id"]),
        ("runs/delete", ["run_id"]),
        ("runs/restore", ["run_id"]),
        ("runs/log-metric", ["run_id", "key", "value", "timestamp"]),
        ("runs/log-parameter", ["run_id", "key"]),
        ("runs/set-tag", ["run_id", "key"]),
        ("runs/delete-tag", ["run_id", "key"]),
        ("runs/log-batch", ["run_id"]),
        ("runs/log-inputs", ["run_id"]),
        ("runs/outputs", ["run_id", "models"]),
        ("runs/log-model", ["run_id", "model_json"]),
    ],
)
def test_a_field_that_is_required_must_be_there(target: Target, path: str, required: list[str]) -> None:
    for name in required:
        for absent in (..., None):
            answer = target.send(path, target.body(changed(path, **{name: absent})))
            target.assert_refused(answer, INVALID, 400, name)
    target.assert_refused(target.send(path, b""), INVALID, 400, required[0])


@pytest.mark.parametrize("call", [call for call in POSTS if "run_id" in call.fields], ids=lambda call: call.path)
def test_an_unknown_run_does_not_exist(target: Target, call: Call) -> None:
    for run_id in (UNKNOWN_RUN, "x" * 200):
        answer = target.send(call.path, target.body({**call.fields, "run_id": run_id}))
        target.assert_refused(answer, MISSING, 404, run_id)
    answer = target.send(call.path, target.body({**call.fields, "run_id": "x" * 1_000_000}))
    has_form = call.path in ("runs/log-batch", "runs/log-inputs")  # which have a rule for the form of a run's id
    target.assert_refused(answer, INVALID if has_form else MISSING, 400 if has_form else 404, "x" * 200)


@pytest.mark.parametrize("call", [call for call in POSTS if "experiment_id" in call.fields], ids=lambda call: call.path)
def test_an_unknown_experiment_does_not_exist(target: Target, call: Call) -> None:
    for number in (UNKNOWN_EXPERIMENT, "-1", str(2**63 - 1)):
        answer = target.send(call.path, target.body({**call.fields, "experiment_id": number}))
        target.assert_refused(answer, MISSING, 404, number)
    for letters in ("letters", "1.5", str(2**63), "0x1", "1 2", "٣"):
        answer = target.send(call.path, target.body({**call.fields, "experiment_id": letters}))
        target.assert_refused(answer, INVALID, 400, "experiment_id")


def entries(count: int, **same: Any) -> list[dict[str, Any]]:
    return [{"key": f"k{number}", **same} for number in range(count)]


METRICS = entries(1001, value=1, timestamp=1)
PAIRS = entries(101, value="v")
MODEL = '{"artifact_path": "m", "flavors": {}, "utc_time_created": "made", "run_id": "r"}'
VIEWS = [{"key": f"mlflow.customView.view{number}", "value": "v"} for number in range(51)]
KEYS = ("a//b", "./a", "a/", "/a", "..", ".", "../a", "a@b", "a(b)", "a%", "a\nb", "k" * 251)


@pytest.mark.parametrize(
    ("path", "changes", "field"),
    [
        ("experiments/create", {"name": "x" * 501}, "name"),
        ("experiments/create", {"artifact_location": "x" * 2049}, "artifact_location"),
        ("experiments/create", {"artifact_location": "runs:/x"}, "artifact_location"),
        ("experiments/create", {"artifact_location": "http://host/x"}, "artifact_location"),
        ("experiments/create", {"artifact_location": "mlflow-artifacts://host/x"}, "artifact_location"),
        ("experiments/create", {"artifact_location": "s3://bucket/x#fragment"}, "artifact_location"),
        ("experiments/create", {"artifact_location": "s3://bucket/x?a=%252e%252e/"}, "artifact_location"),
        ("experiments/create", {"tags": [{"key": "k", "value": "v" * 20_001}]}, "tags[0].value"),
        ("experiments/create", {"tags": [{"value": "v"}]}, "tags[0].key"),
        ("experiments/create", {"tags": VIEWS}, "tags"),
        ("experiments/search", {"max_results": 0}, "max_results"),
        ("experiments/search", {"max_results": -1}, "max_results"),
        ("experiments/search", {"max_results": 50_001}, "max_results"),
        ("experiments/search", {"filter": "name == 'a'"}, "filter"),
        ("experiments/search", {"filter": "name = 'a' AND"}, "filter"),
        ("experiments/search", {"filter": " "}, "filter"),
        ("experiments/search", {"filter": "name LIKE '%\\'"}, "nothing to escape"),
        ("experiments/create", {"tags": [{"key": f"t{at}", "value": ""} for at in range(1001)]}, "tags"),
        ("experiments/search", {"order_by": ["size"]}, "order_by[0]"),
        ("experiments/search", {"order_by": ["name", "name; drop table runs"]}, "order_by[1]"),
        ("experiments/update", {"new_name": "x" * 501}, "new_name"),
        ("experiments/set-experiment-tag", {"value": "v" * 20_001}, "value"),
        ("experiments/delete-experiment-tag", {"key": "k" * 251}, "key"),
        ("runs/create", {"user_id": "u" * 257}, "user_id"),
        ("runs/create", {"run_name": "n" * 8001}, "run_name"),
        ("runs/create", {"tags": [{"key": "mlflow.runName", "value": "other"}]}, "mlflow.runName"),
        ("runs/create", {"tags": [{"value": "v"}]}, "tags[0].key"),
        ("runs/create", {"tags": [{"key": "k" * 251}]}, "tags[0].key"),
        ("runs/update", {"run_name": "n" * 8001}, "run_name"),
        ("runs/update", {"status": 0}, "status"),
        ("runs/log-metric", {"timestamp": -1}, "timestamp"),
        ("runs/log-metric", {"dataset_digest": ...}, "dataset_digest"),
        ("runs/log-metric", {"dataset_name": ...}, "dataset_name"),
        ("runs/log-metric", {"dataset_name": "d" * 501}, "dataset_name"),
        ("runs/log-metric", {"dataset_digest": "d" * 37}, "dataset_digest"),
        ("runs/log-metric", {"model_id": "m" * 37}, "model_id"),
        ("runs/delete-tag", {"key": "k" * 251}, "key"),
        ("runs/log-parameter", {"key": "known", "value": "2"}, "known"),
        ("runs/log-batch", {"run_id": "a b"}, "run_id"),
        ("runs/log-batch", {"run_id": "x" * 257}, "run_id"),
        ("runs/log-batch", {"metrics": METRICS, "params": [], "tags": []}, "1000 metrics"),
        ("runs/log-batch", {"metrics": [], "params": PAIRS, "tags": []}, "100 params"),
        ("runs/log-batch", {"metrics": [], "params": [], "tags": PAIRS}, "100 tags"),
        ("runs/log-batch", {"metrics": METRICS[:999], "params": PAIRS[:1], "tags": PAIRS[:1]}, "1000 metrics, params"),
        ("runs/log-batch", {"params": [{"key": "p", "value": "1"}] * 2}, "['p']"),
        ("runs/log-batch", {"params": [{"key": "new"}, {"key": "known", "value": "2"}]}, "known"),
        ("runs/log-batch", {"params": [{"value": "v"}]}, "params[0].key"),
        ("runs/log-batch", {"tags": [{"key": "k"}, {"value": "v"}]}, "tags[1].key"),
        ("runs/log-batch", {"metrics": [POINT, {**POINT, "key": ""}]}, "metrics[1].key"),
        ("runs/log-batch", {"metrics": [{"key": "m", "timestamp": 1}]}, "metrics[0].value"),
        ("runs/log-batch", {"metrics": [{"key": "m", "value": 1}]}, "metrics[0].timestamp"),
        ("runs/log-batch", {"metrics": [{**POINT, "timestamp": -1}]}, "metrics[0].timestamp"),
        ("runs/log-batch", {"metrics": [POINT, {**POINT, "value": "0x1"}]}, "metrics[1].value"),
        ("runs/log-batch", {"metrics": [{**POINT, "dataset_name": "d"}]}, "metrics[0]"),
        ("runs/log-inputs", {"run_id": "a b"}, "run_id"),
        ("runs/log-inputs", {"datasets": [{"dataset": {"name": "n" * 501}}]}, "datasets[0].dataset.name"),
        ("runs/log-inputs", {"datasets": [{"dataset": {"digest": "d" * 37}}]}, "datasets[0].dataset.digest"),
        ("runs/log-inputs", {"datasets": [{"dataset": {"source_type": "t" * 37}}]}, "datasets[0].dataset.source_type"),
        ("runs/log-inputs", {"datasets": [{"dataset": {"source": "s" * 65_536}}]}, "datasets[0].dataset.source"),
        ("runs/log-inputs", {"datasets": [{}, {"dataset": {"schema": "s" * 1_048_576}}]}, "datasets[1].dataset.schema"),
        ("runs/log-inputs", {"datasets": [{"tags": [{"key": "k" * 256}]}]}, "datasets[0].tags[0].key"),
        ("runs/log-inputs", {"datasets": [{"tags": [{}, {"key": "k", "value": "v" * 501}]}]}, "tags[1].value"),
        ("runs/log-inputs", {"models": [{"model_id": "m" * 37}]}, "models[0].model_id"),
        ("runs/outputs", {"models": [{}, {"model_id": "m" * 37}]}, "models[1].model_id"),
        ("runs/log-model", {"model_json": "{"}, "model_json"),
        ("runs/log-model", {"model_json": "[1]"}, "model_json"),
        ("runs/log-model", {"model_json": "[" * 100_000}, "model_json"),
        ("runs/log-model", {"model_json": "[" + "0," * 100_000 + "0]"}, "commas"),
        ("runs/log-model", {"model_json": "9" * 5000}, "model_json"),
        ("runs/log-model", {"model_json": "{}"}, "artifact_path"),
        ("runs/log-model", {"model_json": MODEL.replace("{}", "[1]")}, "flavors"),
        ("runs/log-model", {"model_json": MODEL.replace("made", "x" * 8000)}, "mlflow.log-model.history"),
        ("runs/search", {"max_results": 0}, "max_results"),
        ("runs/search", {"max_results": -1}, "max_results"),
        ("runs/search", {"max_results": 50_001}, "max_results"),
        ("runs/search", {"max_results": 2**31}, "max_results"),
        ("runs/search", {"experiment_ids": ["0", "letters"]}, "experiment_ids[1]"),
        ("runs/search", {"filter": "metrics.m > 'x'"}, "column 13"),
        ("runs/search", {"filter": "metrics.m > 1; drop table runs"}, "filter at column 14"),
        ("runs/search", {"order_by": ["metrics.m", "metrics.n DOWN"]}, "order_by[1]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_value_that_breaks_a_rule_is_refused(target: Target, path: str, changes: dict[str, Any], field: str) -> None:
    target.assert_refused(target.send(path, target.body(changed(path, **changes))), INVALID, 400, field)


@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_mlflow_does_not_allow_is_refused(target: Target, key: str) -> None:
    for path, name in (
        ("runs/log-metric", "name"),
        ("runs/log-parameter", "key"),
        ("runs/set-tag", "key"),
        ("experiments/set-experiment-tag", "key"),
    ):
        target.assert_refused(target.send(path, target.body(changed(path, key=key))), INVALID, 400, name)
    for path, entries_of, rest, name in (
        ("runs/log-batch", "metrics", {"value": 1, "timestamp": 1}, "metrics[0].name"),
        ("runs/log-batch", "params", {"value": "v"}, "params[0].key"),
        ("runs/log-batch", "tags", {"value": "v"}, "tags[0].key"),
        ("experiments/create", "tags", {"value": "v"}, "tags[0].key"),
    ):
        fields = changed(path, **{entries_of: [{"key": key, **rest}]})
        target.assert_refused(target.send(path, target.body(fields)), INVALID, 400, name)


@pytest.mark.parametrize(
    ("path", "changes", "code", "status", "named"),
    [
        ("experiments/create", {"name": "known"}, "RESOURCE_ALREADY_EXISTS", 400, "known"),
        ("experiments/create", {"name": "Default"}, "RESOURCE_ALREADY_EXISTS", 400, "Default"),
        ("experiments/update", {"new_name": "Default"}, "BAD_REQUEST", 400, "Default"),
        ("experiments/restore", {}, MISSING, 404, EXPERIMENT),
        ("experiments/delete-experiment-tag", {"key": "none"}, MISSING, 404, "none"),
        ("runs/delete-tag", {"key": "none"}, MISSING, 404, "none"),
        ("runs/log-inputs", {"datasets": [{"tags": [{"key": "k"}] * 2}]}, "BAD_REQUEST", 400, "datasets[0].tags[1]"),
    ],
)
def test_what_is_taken_or_is_not_there_is_said_with_mlflows_code(
    target: Target, path: str, changes: dict[str, Any], code: str, status: int, named: str
) -> None:
    named = target.experiment if named == EXPERIMENT else named
    target.assert_refused(target.send(path, target.body(changed(path, **changes))), code, status, named)


@pytest.mark.parametrize("literal", [b"1e400", b"-1e400", b"NaN", b"Infinity", b"9" * 400])
def test_a_number_beyond_a_double_is_refused_without_quotes(target: Target, literal: bytes) -> None:
    alone = target.body(changed("runs/log-metric", value="$value")).replace(b'"$value"', literal)
    target.assert_refused(target.send("runs/log-metric", alone), INVALID, 400, "value")
    batch = changed("runs/log-batch", metrics=[POINT, {**POINT, "value": "$value"}])
    answer = target.send("runs/log-batch", target.body(batch).replace(b'"$value"', literal))
    target.assert_refused(answer, INVALID, 400, "metrics[1].value")


@pytest.mark.parametrize(
    ("path", "changes", "code", "status", "named"),
    [
        ("experiments/get", {"experiment_id": UNKNOWN_EXPERIMENT}, MISSING, 404, UNKNOWN_EXPERIMENT),
        ("experiments/get", {"experiment_id": "letters"}, INVALID, 400, "experiment_id"),
        ("experiments/get", {"experiment_id": ""}, INVALID, 400, "experiment_id"),
        ("experiments/get", {"experiment_id": ...}, INVALID, 400, "experiment_id"),
        ("experiments/get", {"experiment_id": "1\x00"}, INVALID, 400, "experiment_id"),
        ("experiments/get-by-name", {"experiment_name": "none"}, MISSING, 404, "none"),
        ("experiments/get-by-name", {"experiment_name": ...}, INVALID, 400, "experiment_name"),
        ("experiments/get-by-name", {"experiment_name": "a\x00b"}, INVALID, 400, "experiment_name"),
        ("experiments/search", {"max_results": ...}, INVALID, 400, "max_results"),
        ("experiments/search", {"max_results": "1.5"}, INVALID, 400, "max_results"),
        ("experiments/search", {"max_results": "-1"}, INVALID, 400, "max_results"),
        ("experiments/search", {"view_type": "NOPE"}, INVALID, 400, "view_type"),
        ("experiments/search", {"page_token": "garbage"}, INVALID, 400, "page_token"),
        ("runs/get", {"run_id": UNKNOWN_RUN}, MISSING, 404, UNKNOWN_RUN),
        ("runs/get", {"run_id": "none\x00"}, INVALID, 400, "run_id"),
        ("runs/get", {"run_id": ...}, INVALID, 400, "run_id"),
        ("metrics/get-history", {"run_id": ...}, INVALID, 400, "run_id"),
        ("metrics/get-history", {"metric_key": ...}, INVALID, 400, "metric_key"),
        ("metrics/get-history", {"metric_key": "a\x00"}, INVALID, 400, "metric_key"),
        ("metrics/get-history", {"max_results": "0"}, INVALID, 400, "max_results"),
        ("metrics/get-history", {"max_results": "-5"}, INVALID, 400, "max_results"),
        ("metrics/get-history", {"max_results": "many"}, INVALID, 400, "max_results"),
        ("metrics/get-history", {"max_results": str(2**31)}, INVALID, 400, "max_results"),
        ("metrics/get-history", {"page_token": "garbage"}, INVALID, 400, "page_token"),
    ],
)
def test_a_query_that_breaks_a_rule_is_refused(
    target: Target, path: str, changes: dict[str, Any], code: str, status: int, named: str
) -> None:
    places = {RUN: target.run, EXPERIMENT: target.experiment}
    query = {name: places.get(value, value) for name, value in changed(path, GETS, **changes).items()}
    target.assert_refused(target.client.get(path, params=query), code, status, named)


def test_a_page_token_of_another_endpoint_or_of_nobody_is_refused(target: Target) -> None:
    tokens = [
        base64.urlsafe_b64encode(json.dumps(inner).encode()).decode()
        for inner in (
            {"offset": 1}, [], [1, 2, 3, 4], [None], ["1"], [-1], [2**70], [1.5], [True, "r"], [1, 2], [2**64, "r"],
            [1, "\ud800"], [1, "a\x00b"], [1, 2, "one"], [1, 2, 3.5], [2**63, 0, "0x1p0"], [0, 2**63, "0x1p0"],
            [0, 0, "\u0663"], [0, 0, "0x1p99999"], "text", None,
        )
    ]  # fmt: skip
    for token in [*tokens, "%%%", "é", "AAAA", "W10", "\x00", "=" * 40, "a" * 10_000]:
        search = target.post("experiments/search", {"max_results": 1, "page_token": token})
        target.assert_refused(search, INVALID, 400, "page_token")
        runs = target.post("runs/search", {"experiment_ids": ["0"], "page_token": token})
        target.assert_refused(runs, INVALID, 400, "page_token")
        query = {"run_id": target.run, "metric_key": "known", "max_results": 1, "page_token": token}
        history = target.client.get("metrics/get-history", params=query)
        target.assert_refused(history, INVALID, 400, "page_token")
