"""A call with an Idempotency-Key takes effect once, and its repeats get what the first one got."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import asyncpg
import httpx
import pytest

from tests.e2e.bad_input import EXPERIMENT, POSTS, RUN, Call, as_json
from tests.server import Server

WRITES = [call for call in POSTS if not call.path.endswith("/search")]


class Keyed:
    """An experiment with a run of a test's own, and calls with a key."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.name = f"e {uuid4()}"
        self.experiment = server.post("experiments/create", {"name": self.name}).json()["experiment_id"]
        given = [{"key": "given", "value": "1"}]
        run = server.post("runs/create", {"experiment_id": self.experiment, "tags": given})
        self.run = run.json()["run"]["info"]["run_id"]
        tag = {"experiment_id": self.experiment, "key": "k", "value": "v"}
        assert server.post("experiments/set-experiment-tag", tag).status_code == 200

    def body(self, call: Call) -> bytes:
        """The call on this experiment and run; a name that must be new is new."""
        names = {name: f"{self.name} {name}" for name in ("name", "new_name") if name in call.fields}
        body = as_json({**call.fields, **names})
        return body.replace(RUN.encode(), self.run.encode()).replace(EXPERIMENT.encode(), self.experiment.encode())

    def send(self, path: str, body: bytes, key: str | bytes, prefix: str = "/api/2.0/mlflow") -> httpx.Response:
        headers = {"content-type": "application/json", "idempotency-key": key}
        return httpx.post(f"{self.server.url}{prefix}/{path}", content=body, headers=headers, timeout=60)  # type: ignore[arg-type]

    async def events(self) -> int:
        """How many events the log has."""
        connection = await asyncpg.connect(
            host=str(self.server.data / "postgres"), user="postgres", database="runstream"
        )
        position: int = await connection.fetchval("select position from runstream.log_head")
        await connection.close()
        return position


@pytest.fixture
def keyed(standing_server: Server) -> Keyed:
    return Keyed(standing_server)


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error_code"]


@pytest.mark.parametrize("call", WRITES, ids=lambda call: call.path)
async def test_a_repeat_gets_the_first_ones_answer_and_stores_nothing(keyed: Keyed, call: Call) -> None:
    if call.path == "experiments/restore":
        keyed.server.post("experiments/delete", {"experiment_id": keyed.experiment})
    body, key = keyed.body(call), str(uuid4())
    before = await keyed.events()
    answers = [keyed.send(call.path, body, key) for _ in range(3)]
    assert [(answer.status_code, answer.text) for answer in answers] == [(200, answers[0].text)] * 3
    assert await keyed.events() == before + 1

    other = keyed.send(call.path, body + b" ", key)
    assert refusal(other) == (409, "RESOURCE_CONFLICT")
    assert "Idempotency-Key" in other.json()["message"]
    assert await keyed.events() == before + 1
    assert keyed.send(call.path, body, key).text == answers[0].text


async def test_calls_at_the_same_time_create_one_run(keyed: Keyed) -> None:
    body, key = as_json({"experiment_id": keyed.experiment}), str(uuid4())
    before = await keyed.events()
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: keyed.send("runs/create", body, key), range(40)))
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, answers[0].text)}
    assert await keyed.events() == before + 1
    listed = keyed.server.post("runs/search", {"experiment_ids": [keyed.experiment]}).json()["runs"]
    assert [run["info"]["run_id"] for run in listed] == [answers[0].json()["run"]["info"]["run_id"], keyed.run]


async def test_of_bodies_at_the_same_time_one_takes_effect(keyed: Keyed) -> None:
    def send(number: int) -> httpx.Response:
        pairs = [{"key": f"p{number % 4}", "value": "v"}]
        return keyed.send("runs/log-batch", as_json({"run_id": keyed.run, "params": pairs}), "one-of-four")

    before = await keyed.events()
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(send, range(12)))
    taken = {number % 4 for number, answer in enumerate(answers) if answer.status_code == 200}
    assert len(taken) == 1
    assert {answer.status_code for answer in answers} == {200, 409}
    assert await keyed.events() == before + 1
    params = keyed.server.get("runs/get", run_id=keyed.run).json()["run"]["data"]["params"]
    assert params == [{"key": f"p{taken.pop()}", "value": "v"}]


async def test_a_refused_call_is_refused_again_though_it_would_be_taken_now(keyed: Keyed) -> None:
    body, key = as_json({"name": keyed.name}), str(uuid4())
    first = keyed.send("experiments/create", body, key)
    assert refusal(first) == (400, "RESOURCE_ALREADY_EXISTS")
    renamed = {"experiment_id": keyed.experiment, "new_name": f"{keyed.name} renamed"}
    assert keyed.server.post("experiments/update", renamed).status_code == 200
    before = await keyed.events()
    assert keyed.send("experiments/create", body, key).text == first.text
    assert refusal(keyed.send("experiments/create", body + b"\n", key)) == (409, "RESOURCE_CONFLICT")
    assert await keyed.events() == before
    assert keyed.send("experiments/create", body, str(uuid4())).status_code == 200


def test_a_changed_param_is_refused_again_with_the_value_that_it_has(keyed: Keyed) -> None:
    key = str(uuid4())
    keyed.send("runs/log-parameter", as_json({"run_id": keyed.run, "key": "p", "value": "1"}), str(uuid4()))
    body = as_json({"run_id": keyed.run, "key": "p", "value": "2"})
    answers = [keyed.send("runs/log-parameter", body, key) for _ in range(2)]
    assert answers[0].text == answers[1].text
    assert "value='1'" in answers[0].json()["message"]


def test_a_key_belongs_to_a_path_and_what_became_no_event_has_not_used_it(keyed: Keyed) -> None:
    key = str(uuid4())
    unknown = as_json({"run_id": "0" * 32, "key": "k", "value": "v"})
    assert refusal(keyed.send("runs/set-tag", unknown, key)) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert refusal(keyed.send("runs/set-tag", b"{", key)) == (400, "INVALID_PARAMETER_VALUE")
    body = as_json({"run_id": keyed.run, "key": "k", "value": "v"})
    for path in ("runs/set-tag", "runs/log-parameter"):
        assert keyed.send(path, body, key).status_code == 200
    assert keyed.send("runs/set-tag", unknown, key).status_code == 404
    assert keyed.send("runs/set-tag", body, key, prefix="/ajax-api/2.0/mlflow").status_code == 200


async def test_a_repeat_after_a_kill_gets_the_first_ones_answer(keyed: Keyed) -> None:
    body, key = as_json({"experiment_id": keyed.experiment}), str(uuid4())
    first = keyed.send("runs/create", body, key)
    run_id = first.json()["run"]["info"]["run_id"]
    changed = {"run_id": run_id, "status": "FINISHED", "end_time": 5, "run_name": "another"}
    assert keyed.server.post("runs/update", changed).status_code == 200
    before = await keyed.events()
    keyed.server.kill()
    keyed.server.start()
    assert keyed.send("runs/create", body, key).text == first.text
    assert refusal(keyed.send("runs/create", b"{}", key)) == (409, "RESOURCE_CONFLICT")
    assert await keyed.events() == before


@pytest.mark.parametrize("key", ["", "k" * 256, "a b", "a\tb", b"\xc3\xa4", b"\x80"], ids=repr)
async def test_a_key_that_is_none_is_refused(keyed: Keyed, key: str | bytes) -> None:
    before = await keyed.events()
    answer = keyed.send("runs/create", b"{}", key)
    assert refusal(answer) == (400, "INVALID_PARAMETER_VALUE")
    assert "Idempotency-Key must be 1 to 255 visible ASCII characters" in answer.json()["message"]
    assert await keyed.events() == before


async def test_two_keys_are_refused_and_the_longest_is_taken(keyed: Keyed) -> None:
    before = await keyed.events()
    answer = keyed.server.post("runs/create", {}, headers=[("idempotency-key", "a"), ("idempotency-key", "a")])
    assert refusal(answer) == (400, "INVALID_PARAMETER_VALUE")
    assert await keyed.events() == before
    assert keyed.send("runs/create", b"{}", "k" * 255).status_code == 200
