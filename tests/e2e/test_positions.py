"""Answers to writes name their position; whoever knows one can wait until everything that is read holds it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from runstream_projections.catalogue import PROJECTIONS
from runstream_schemas.events import RunCreated
from runstream_schemas.ids import run_stream
from tests.native import Native
from tests.sent import Sent
from tests.server import Server

HEADER = "x-runstream-position"
WAIT = "x-runstream-wait-position"


@pytest.fixture(scope="module")
def native(standing_server: Server) -> Iterator[Native]:
    client = Native(standing_server.url)
    yield client
    client.http.close()


def new_run(native: Native) -> tuple[str, int]:
    run_id = uuid4().hex
    event = RunCreated(name="n", start_time=1, experiment_id=0)
    return run_id, native.append([Sent(uuid4(), run_stream(run_id), event)]).position


def test_every_write_answers_with_its_position(standing_server: Server, native: Native) -> None:
    run_id, before = new_run(native)
    experiment = standing_server.post("experiments/create", {"name": str(uuid4())})
    number = experiment.json()["experiment_id"]
    tag = {"key": "k", "value": "v"}
    writes: list[tuple[str, dict[str, Any]]] = [
        ("runs/create", {}),
        ("runs/update", {"run_id": run_id, "status": "RUNNING"}),
        ("runs/log-metric", {"run_id": run_id, "key": "m", "value": 1, "timestamp": 1}),
        ("runs/log-parameter", {"run_id": run_id, "key": "p", "value": "x" * 6_001}),
        ("runs/log-batch", {"run_id": run_id, "metrics": [{"key": "m", "value": 2, "timestamp": 2}]}),
        ("runs/set-tag", {"run_id": run_id, **tag}),
        ("runs/delete-tag", {"run_id": run_id, "key": "k"}),
        ("runs/delete", {"run_id": run_id}),
        ("runs/restore", {"run_id": run_id}),
        ("experiments/set-experiment-tag", {"experiment_id": number, **tag}),
        ("experiments/delete-experiment-tag", {"experiment_id": number, "key": "k"}),
        ("experiments/update", {"experiment_id": number, "new_name": str(uuid4())}),
        ("experiments/delete", {"experiment_id": number}),
        ("experiments/restore", {"experiment_id": number}),
    ]
    answers = [experiment, *(standing_server.post(path, body) for path, body in writes)]
    assert [answer.status_code for answer in answers] == [200] * len(answers)
    positions = [int(answer.headers[HEADER]) for answer in answers]
    assert positions == list(range(before + 1, before + 1 + len(answers)))
    assert HEADER not in standing_server.get("runs/get", run_id=run_id).headers


def test_waiting_for_what_is_there_answers_at_once(native: Native) -> None:
    _, position = new_run(native)
    for asked in (0, 1, position):
        assert native.get("/wait", position=asked).status_code == 200
        answer = native.get("/wait", position=asked, timeout_ms=0)
        assert (answer.status_code, answer.json()["position"]) == (200, asked)
        reached = answer.json()["projections"]
        assert reached.keys() == PROJECTIONS.keys()
        assert min(reached.values()) >= asked


def test_waiting_for_what_comes_later_answers_when_it_is_there(native: Native) -> None:
    _, position = new_run(native)
    found: list[tuple[int, float]] = []

    def wait() -> None:
        answer = httpx.get(f"{native.http.base_url}wait", params={"position": position + 1}, timeout=60)
        found.append((answer.status_code, time.monotonic()))

    waiter = threading.Thread(target=wait)
    waiter.start()
    waiter.join(0.3)
    assert waiter.is_alive(), "it answered before the position was there"
    sent_at = time.monotonic()
    new_run(native)
    waiter.join(60)
    [(status, answered_at)] = found
    assert status == 200
    assert answered_at > sent_at


def test_waiting_for_what_does_not_come_is_a_503_that_says_how_far_everything_is(native: Native) -> None:
    _, position = new_run(native)
    answer = native.get("/wait", position=position + 1_000, timeout_ms=50)
    assert (answer.status_code, answer.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
    assert int(answer.headers["retry-after"]) >= 1
    assert set(answer.json()["projections"]) == set(PROJECTIONS)
    assert f"position {position + 1_000} was not reached within 0.05 s" in answer.json()["message"]


@pytest.mark.parametrize(
    "query",
    [{}, {"position": "x"}, {"position": -1}, {"position": 2**63}, {"position": 1, "timeout_ms": 60_001}],
)
def test_what_is_no_position_is_a_400(native: Native, query: dict[str, Any]) -> None:
    answer = native.get("/wait", **query)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_any_read_waits_for_a_position(standing_server: Server, native: Native) -> None:
    run_id, position = new_run(native)
    reads: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", "runs/get", {"run_id": run_id}),
        ("GET", "metrics/get-history", {"run_id": run_id, "metric_key": "m"}),
        ("GET", "experiments/get", {"experiment_id": "0"}),
        ("POST", "runs/search", {"experiment_ids": ["0"]}),
        ("POST", "experiments/search", {"max_results": 5}),
    ]

    def ask(method: str, path: str, fields: dict[str, Any], asked: int) -> httpx.Response:
        header = {WAIT: str(asked)}
        if method == "POST":
            return standing_server.post(path, fields, headers=header)
        return httpx.get(f"{standing_server.url}/api/2.0/mlflow/{path}", params=fields, headers=header, timeout=60)

    for method, path, fields in reads:
        assert ask(method, path, fields, position).status_code == 200
        assert ask(method, path, fields, -1).status_code == 400
    assert standing_server.get("runs/get", run_id=run_id, wait_position=position).status_code == 200
    # One after another they would take a minute and more until each is told that its position did not come.
    later = [threading.Thread(target=ask, args=(*read, position + 1), daemon=True) for read in reads]
    for thread in later:
        thread.start()
    time.sleep(0.3)
    assert all(thread.is_alive() for thread in later), "a read answered before the position was there"
    new_run(native)
    for thread in later:
        thread.join(60)
        assert not thread.is_alive()
