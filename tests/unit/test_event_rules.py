"""What a native event must keep to beyond its schema: what MLflow's endpoints refuse is refused here, too."""

from __future__ import annotations

import tracemalloc
from typing import Any
from uuid import UUID

import msgspec
import pytest

from runstream_schemas.codec import encode
from runstream_schemas.columns import MetricColumns
from runstream_schemas.errors import RequestError
from runstream_schemas.events import (
    Event,
    ExperimentCreated,
    ExperimentDeleted,
    ExperimentEnsured,
    ExperimentRenamed,
    ExperimentRestored,
    ExperimentTagDeleted,
    ExperimentTagSet,
    RunCreated,
    RunDeleted,
    RunLogged,
    RunRestored,
    RunTagDeleted,
    RunUpdated,
)
from runstream_schemas.ids import EXPERIMENTS, run_stream
from runstream_services.gateway import rules
from runstream_services.gateway.event_rules import MAX_PAIRS
from runstream_services.gateway.requests_events import MAX_COMMAS, MAX_EVENTS, id_of, parse_batch, read_event
from tests.sent import Sent, event_id

RUN = run_stream("a" * 32)
EVENT = UUID(int=1)


def columns(**changed: Any) -> MetricColumns:
    return MetricColumns(**{"keys": ["m"], "steps": [1], "timestamps": [1], "values": [0.5], **changed})


def read(event: Event, stream: str = "", **envelope: Any) -> tuple[Any, Event]:
    default = RUN if type(event).__name__.startswith("Run") else EXPERIMENTS
    sent = Sent(event_id(1), stream or default, event, **envelope)
    return read_event(msgspec.Raw(encode(sent.envelope)), None)


GOOD = (
    ExperimentCreated(name="x", created_at=1, artifact_location="s3://bucket/x", tags={"k": "v" * 20_000}),
    ExperimentEnsured(name="x" * 500, created_at=-1),
    ExperimentRenamed(experiment_id=1, name="x", updated_at=1),
    ExperimentDeleted(experiment_id=1, updated_at=1),
    ExperimentRestored(experiment_id=1, updated_at=1),
    ExperimentTagSet(experiment_id=1, key="k", value=""),
    ExperimentTagDeleted(experiment_id=1, key="k" * 250),
    RunCreated(name="n" * 8_000, start_time=1, user_id="u" * 256, experiment_id=0, tags={"any sign: ?": "v" * 8_000}),
    RunCreated(name="n", start_time=1, ensured_by=EVENT, tags={"mlflow.runName": "n"}),
    RunUpdated(status="KILLED", end_time=2, name="n"),
    RunUpdated(),
    RunDeleted(),
    RunRestored(),
    RunTagDeleted(key="k"),
    RunLogged(),
    RunLogged(params={"k" * 250: "v" * 6_000, "a/b c:d": ""}, tags={"k": "v" * 8_000}),
    RunLogged(metrics=columns(counts=[3], steps=[1, 2, 3], values=["NaN", "Infinity", -0.0])),
    RunLogged(metrics=columns(counts=[1_000])),
    RunLogged(metrics=columns(counts=[1_001], steps=list(range(1_001)))),
    RunLogged(metrics=columns(model_ids=["m" * 36], dataset_names=["d" * 500], dataset_digests=["e" * 36])),
    RunLogged(metrics=columns(keys=["a", "b"], dataset_names=["d", None], dataset_digests=["e", None])),
    RunLogged(metrics=columns(keys=["é", "b"])),
)

BAD = {
    "experiment without a name": ExperimentCreated(name="", created_at=1),
    "ensured without a name": ExperimentEnsured(name="", created_at=1),
    "renamed to nothing": ExperimentRenamed(experiment_id=1, name="", updated_at=1),
    "experiment's long name": ExperimentEnsured(name="x" * 501, created_at=1),
    "experiment's location elsewhere": ExperimentCreated(name="x", created_at=1, artifact_location="http://host/x"),
    "experiment's empty location": ExperimentCreated(name="x", created_at=1, artifact_location=""),
    "experiment's long tag": ExperimentCreated(name="x", created_at=1, tags={"k": "v" * 20_001}),
    "experiment's tag key": ExperimentCreated(name="x", created_at=1, tags={"k?": "v"}),
    "experiment's many tags": ExperimentCreated(name="x", created_at=1, tags={str(n): "" for n in range(1_001)}),
    "experiment's many views": ExperimentCreated(
        name="x", created_at=1, tags={f"{rules.CUSTOM_VIEW_PREFIX}{n}": "" for n in range(51)}
    ),
    "tag set without a key": ExperimentTagSet(experiment_id=1, key="", value="v"),
    "tag set to a long value": ExperimentTagSet(experiment_id=1, key="k", value="v" * 20_001),
    "tag deleted without a key": ExperimentTagDeleted(experiment_id=1, key=""),
    "run without a name": RunCreated(name="", start_time=1, experiment_id=0),
    "run with two experiments": RunCreated(name="n", start_time=1, experiment_id=0, ensured_by=EVENT),
    "run without experiment": RunCreated(name="n", start_time=1),
    "run with two names": RunCreated(name="n", start_time=1, experiment_id=0, tags={"mlflow.runName": "m"}),
    "run's long name": RunCreated(name="n" * 8_001, start_time=1, experiment_id=0),
    "run's long user": RunCreated(name="n", start_time=1, experiment_id=0, user_id="u" * 257),
    "run's long tag": RunCreated(name="n", start_time=1, experiment_id=0, tags={"k": "v" * 8_001}),
    "run's long tag key": RunCreated(name="n", start_time=1, experiment_id=0, tags={"k" * 251: "v"}),
    "run's empty tag key": RunCreated(name="n", start_time=1, experiment_id=0, tags={"": "v"}),
    "run's many tags": RunCreated(name="n", start_time=1, experiment_id=0, tags={str(n): "" for n in range(1_001)}),
    "unknown status": RunUpdated(status="DONE"),
    "name taken away": RunUpdated(name=""),
    "run's tag deleted without a key": RunTagDeleted(key=""),
    "param key": RunLogged(params={"a/../b": "v"}),
    "empty param key": RunLogged(params={"": "v"}),
    "long param key": RunLogged(params={"k" * 251: "v"}),
    "long param": RunLogged(params={"k": "v" * 6_001}),
    "tag key": RunLogged(tags={"k\n\n": "v"}),
    "long tag": RunLogged(tags={"k": "v" * 8_001}),
    "run name taken away": RunLogged(tags={"mlflow.runName": ""}),
    "many pairs": RunLogged(params={str(n): "" for n in range(MAX_PAIRS)}, tags={"k": "v"}),
    "metric key": RunLogged(metrics=columns(keys=["m", "a?"])),
    "long metric key": RunLogged(metrics=columns(keys=["k" * 251])),
    "points that are not there": RunLogged(metrics=columns(counts=[1_001])),
    "points of two keys that are not there": RunLogged(metrics=columns(keys=["a", "b"], counts=[1, 1_000])),
    "empty model": RunLogged(metrics=columns(model_ids=[""])),
    "long model": RunLogged(metrics=columns(model_ids=["m" * 37])),
    "dataset without digest": RunLogged(metrics=columns(dataset_names=["d"])),
    "digest without dataset": RunLogged(metrics=columns(dataset_names=[None], dataset_digests=["d"])),
    "NUL": RunLogged(params={"k": "a\0b"}),
}


@pytest.mark.parametrize("event", GOOD, ids=lambda event: type(event).__name__)
def test_what_mlflow_can_show_is_taken(event: Event) -> None:
    envelope, decoded = read(event, writer="host/1", sequence=7)
    assert (decoded, envelope.writer, envelope.sequence) == (event, "host/1", 7)


@pytest.mark.parametrize("event", BAD.values(), ids=BAD)
def test_what_mlflow_could_not_show_is_refused(event: Event) -> None:
    with pytest.raises(RequestError) as refusal:
        read(event)
    assert (refusal.value.code, refusal.value.status) == ("INVALID_PARAMETER_VALUE", 400)
    assert len(refusal.value.message) < 1_500


@pytest.mark.parametrize("run_id", ["a b", "-a", "a" * 257, "../a", "run/a"])
def test_a_run_id_that_mlflow_cannot_log_to_is_refused(run_id: str) -> None:
    for event in (RunLogged(), RunDeleted()):
        with pytest.raises(RequestError, match="run_id"):
            read(event, run_stream(run_id))


def test_the_actor_is_the_servers_word() -> None:
    with pytest.raises(RequestError, match="actor"):
        read(RunLogged(), actor="somebody else")
    raw = msgspec.Raw(encode(Sent(event_id(1), RUN, RunLogged()).envelope))
    assert read_event(raw, "ada")[0].actor == "ada"


@pytest.mark.parametrize(
    "raw",
    [b"5", b"{}", b'{"id":5}', b'{"id":"x","type":"RunLogged"}', b"null", b'{"id":"' + str(EVENT).encode() + b'"}'],
)
def test_what_is_no_envelope_is_refused_under_the_id_that_it_has(raw: bytes) -> None:
    with pytest.raises(RequestError, match="not an event envelope"):
        read_event(msgspec.Raw(raw), None)
    assert id_of(msgspec.Raw(raw)) == (EVENT if str(EVENT).encode() in raw else None)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"events":{}}', b'{"events":[],"a":1}', b'{"events":[', b"\xff"])
def test_what_is_no_batch_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError, match="events"):
        parse_batch(body)


@pytest.mark.parametrize("half", [rb"\ud800", rb"\uDFFF", rb"\ud800\ud800", rb"\\\uD800\u0041", rb"\udc00\ud800 "])
def test_half_a_surrogate_pair_is_in_one_event_only(half: bytes) -> None:
    whole = encode(Sent(event_id(1), RUN, RunLogged(tags={"k": "X", "l": "Y"})).envelope)
    good = whole.replace(b"X", rb"\\ud800 \\\ud83d\ude00").replace(b"Y", rb"\u0041")
    events = parse_batch(b'{"events":[' + whole.replace(b"X", half) + b"," + good + b"]}")
    with pytest.raises(RequestError, match=r"not a RunLogged|malformed"):
        read_event(events[0], None)
    envelope, event = read_event(events[1], None)
    assert event == RunLogged(tags={"k": "\\ud800 \\\U0001f600", "l": "A"})
    assert bytes(envelope.payload) in good


@pytest.mark.parametrize("field", ["type", "stream", "writer"])
def test_a_refusal_does_not_give_back_all_that_was_sent(field: str) -> None:
    sent = msgspec.json.decode(encode(Sent(event_id(1), RUN, RunLogged()).envelope))
    for wrong in (sent | {field: "x" * 100_000}, sent | {"payload": {"x" * 100_000: 1}}):
        with pytest.raises(RequestError) as refusal:
            read_event(msgspec.Raw(msgspec.json.encode(wrong)), None)
        assert len(refusal.value.message) < 3_000


def test_a_batch_is_bounded() -> None:
    full = b'{"events":[' + b",".join([b"{}"] * MAX_EVENTS) + b"]}"
    assert len(parse_batch(full)) == MAX_EVENTS
    with pytest.raises(RequestError, match="at most 2000 events"):
        parse_batch(full.replace(b"[{}", b"[{},{}"))
    numbers = b"[" + b",".join([b"0"] * (MAX_COMMAS + 1)) + b"]"
    assert len(parse_batch(b'{"events":[' + numbers + b"]}")) == 1
    with pytest.raises(RequestError, match="commas"):
        parse_batch(b'{"events":[' + numbers + b",5]}")
    assert len(parse_batch(b'{"events":["\\"' + b"," * (MAX_COMMAS + 1) + b'"]}')) == 1


def test_a_payload_does_not_hold_the_body_that_it_came_in() -> None:
    event = encode(Sent(event_id(1), RUN, RunLogged(tags={"k": "v"})).envelope)
    tracemalloc.start()
    try:
        envelope, _ = read_event(parse_batch(b'{"events":[' + event + b"," + b" " * 4_000_000 + b"5]}")[0], None)
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()
    assert bytes(envelope.payload) == b'{"tags":{"k":"v"}}'
