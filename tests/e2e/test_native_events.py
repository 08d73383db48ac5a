"""Events that a client sends itself: shown by MLflow's API, once however often they are sent, refused one by one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from uuid import UUID, uuid4

import pytest

from runstream_schemas.answers import EventResult
from runstream_schemas.codec import encode
from runstream_schemas.columns import MetricColumns
from runstream_schemas.events import Event, ExperimentCreated, ExperimentEnsured, RunCreated, RunLogged, RunUpdated
from runstream_schemas.ids import EXPERIMENTS, run_stream
from tests.native import Native
from tests.sent import Sent
from tests.server import Server


@pytest.fixture(scope="module")
def native(standing_server: Server) -> Iterator[Native]:
    client = Native(standing_server.url)
    yield client
    client.http.close()


def sent(event: Event, run_id: str | None = None, **envelope: str | int) -> Sent:
    return Sent(uuid4(), EXPERIMENTS if run_id is None else run_stream(run_id), event, **envelope)  # type: ignore[arg-type]


def new_run(run_id: str, experiment_id: int = 0) -> Sent:
    return sent(RunCreated(name=f"run {run_id[:4]}", start_time=5, experiment_id=experiment_id), run_id)


def points(key: str, *values: float | str) -> MetricColumns:
    return MetricColumns(
        keys=[key], counts=[len(values)], steps=list(range(len(values))), timestamps=[7], values=list(values)
    )


def test_a_run_that_was_logged_as_events_is_one_of_mlflows(standing_server: Server, native: Native) -> None:
    run_id = uuid4().hex
    ensured = sent(ExperimentEnsured(name=f"of {run_id}", created_at=1))
    created = sent(RunCreated(name="n", start_time=5, ensured_by=ensured.id, tags={"t": "1"}), run_id)
    logged = sent(RunLogged(metrics=points("loss", 0.5, "NaN", -0.0), params={"lr": "0.1"}), run_id, sequence=1)
    ended = sent(RunUpdated(status="FINISHED", end_time=9), run_id, writer="host/1", sequence=2)
    answer = native.append([ensured, created, logged, ended])
    assert [result.status for result in answer.results] == ["accepted"] * 4
    positions = [result.position for result in answer.results]
    assert positions == list(range(answer.position - 3, answer.position + 1)), "in the order in which they were sent"
    experiment_id = answer.results[0].result
    assert [result.result for result in answer.results] == [experiment_id, experiment_id, None, None]

    run = standing_server.get("runs/get", run_id=run_id).json()["run"]
    assert run["info"]["experiment_id"] == str(experiment_id)
    assert (run["info"]["status"], run["info"]["start_time"], run["info"]["end_time"]) == ("FINISHED", 5, 9)
    assert run["data"]["params"] == [{"key": "lr", "value": "0.1"}]
    history = standing_server.get("metrics/get-history", run_id=run_id, metric_key="loss").json()["metrics"]
    assert [(point["step"], point["value"]) for point in history] == [(0, 0.5), (1, "NaN"), (2, -0.0)]


def test_a_batch_sent_again_is_the_same_events(native: Native) -> None:
    run_id = uuid4().hex
    batch = [new_run(run_id), sent(RunLogged(params={"a": "1"}), run_id), sent(RunLogged(params={"a": "2"}), run_id)]
    first = native.append(batch)
    assert [result.status for result in first.results] == ["accepted", "accepted", "rejected"]
    assert native.append(batch) == first
    assert native.append(batch[::-1]).results == first.results[::-1]
    assert native.append([*batch, *batch, sent(RunLogged(), run_id)]).position == first.position + 1


def test_what_is_wrong_is_told_in_its_place_and_keeps_nothing_else_back(native: Native) -> None:
    run_id = uuid4().hex
    bad, spoofed = sent(RunLogged(params={"a?": "1"}), run_id), sent(RunLogged(), run_id, actor="somebody")
    unknown = encode(sent(RunLogged(), run_id).envelope).replace(b"RunLogged", b"RunPraised")
    lone = encode(sent(RunLogged(params={"a": "X"}), run_id).envelope).replace(b"X", b"\\ud800")
    answer = native.append([b"7", new_run(run_id), bad, unknown, sent(RunLogged(), run_id), spoofed, lone, b"[]"])
    statuses = [result.status for result in answer.results]
    assert statuses == [*["rejected", "accepted", "rejected", "rejected", "accepted"], *["rejected"] * 3]
    refused = [result for result in answer.results if result.status == "rejected"]
    assert all(result.position is None and result.error_code == "INVALID_PARAMETER_VALUE" for result in refused)
    assert [result.id for result in answer.results[:3]] == [None, answer.results[1].id, bad.id]
    assert [answer.results[1].position, answer.results[4].position] == [answer.position - 1, answer.position]


def test_an_event_of_a_run_that_nobody_created_yet_waits_for_it(standing_server: Server, native: Native) -> None:
    run_id = uuid4().hex
    early = [sent(RunLogged(params={"a": "1"}), run_id), sent(RunLogged(params={"a": "2"}), run_id)]
    assert [result.status for result in native.append(early).results] == ["waiting"] * 2
    assert standing_server.get("runs/get", run_id=run_id).status_code == 404
    native.append([new_run(run_id)])
    assert [result.status for result in native.append(early).results] == ["accepted", "rejected"]
    run = standing_server.get("runs/get", run_id=run_id).json()["run"]
    assert run["data"]["params"] == [{"key": "a", "value": "1"}]


def test_decisions_are_told_in_mlflows_terms(native: Native) -> None:
    name = f"taken {uuid4()}"
    first, again, nowhere = (
        sent(ExperimentCreated(name=name, created_at=1)),
        sent(ExperimentCreated(name=name, created_at=2)),
        new_run(uuid4().hex, experiment_id=999_999),
    )
    made, *others = native.append([first, again, nowhere]).results
    assert made == EventResult(id=first.id, status="accepted", position=made.position, result=made.result)
    assert [(r.status, r.error_code) for r in others] == [
        ("rejected", "RESOURCE_ALREADY_EXISTS"),
        ("rejected", "RESOURCE_DOES_NOT_EXIST"),
    ]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"{", 400), (b"[]", 400), (b'{"events":5}', 400), (b'{"events":[' + b"{}," * 2_000 + b"{}]}", 400)],
)
def test_what_is_no_batch_is_a_400(native: Native, body: bytes, status: int) -> None:
    answer = native.http.post("/events", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error_code"]) == (status, "INVALID_PARAMETER_VALUE")


def test_a_batch_of_nothing_is_nothing(native: Native) -> None:
    assert native.append([]).position == 0


def test_events_of_many_runs_come_in_one_batch_up_to_its_bounds(standing_server: Server, native: Native) -> None:
    run_ids = [uuid4().hex for _ in range(100)]
    numbers = count()
    logged = [
        sent(RunLogged(metrics=points("m", *(next(numbers) for _ in range(20)))), run_ids[at % 100])
        for at in range(1_900)
    ]
    answer = native.append([*map(new_run, run_ids), *logged])
    assert {result.status for result in answer.results} == {"accepted"}
    shown = standing_server.get("runs/get", run_id=run_ids[-1]).json()["run"]["data"]["metrics"]
    assert [(point["key"], point["value"]) for point in shown] == [("m", 37_999.0)]


def test_an_id_that_is_no_uuid7_is_an_id_all_the_same(native: Native) -> None:
    event = Sent(UUID(int=uuid4().int), EXPERIMENTS, ExperimentEnsured(name="Default", created_at=1))
    assert native.append([event]).results[0].result == 0
