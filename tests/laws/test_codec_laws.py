"""Laws of the codec: what is sent is read bit by bit, and nothing but its own two errors comes out of foreign bytes."""

from __future__ import annotations

import json
import math
import struct
from uuid import UUID

import msgspec
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from runstream_schemas.codec import check, decode, decode_payload, encode, encode_payload
from runstream_schemas.columns import MetricColumns, columns_from_points
from runstream_schemas.envelope import Envelope
from runstream_schemas.errors import InvalidEvent, Undecodable, UnknownEventType
from runstream_schemas.events import CURRENT_VERSION, EVENT_TYPES, RUN_EVENTS, Event, ExperimentTagSet, RunLogged
from tests.laws.histories import INT64_MAX, INT64_MIN, experiment_events, run_events
from tests.sent import START_MS, Sent, event_id

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=250)
#: MLflow's keys: letters and digits of any script, and / _ - . space colon.
KEY = st.text(st.characters(categories=["L", "N"], include_characters="/_-. :"), min_size=1, max_size=250)
BITS = st.integers(0, (1 << 64) - 1)
STEP = st.integers(INT64_MIN, INT64_MAX)
MILLISECONDS = st.integers(0, INT64_MAX)


def double(bits: int) -> float:
    found: float = struct.unpack("<d", struct.pack("<Q", bits))[0]
    return found


def bits(value: float | str) -> int:
    """The bits that a value stands for; NaN has one name, so one pattern."""
    number = float(value)
    return struct.unpack("<Q", struct.pack("<d", math.nan if math.isnan(number) else number))[0]  # type: ignore[no-any-return]


def sent(event: Event, **fields: object) -> Sent:
    stream = "run/r" if isinstance(event, RUN_EVENTS) else "experiments"
    return Sent(event_id(1), stream, event, **fields)  # type: ignore[arg-type]


def read(event: Event) -> Event:
    """The event after its way over the wire."""
    return decode_payload(decode(encode(sent(event).envelope)))


@settings(deadline=None)
@given(st.lists(st.tuples(KEY, STEP, MILLISECONDS, BITS), min_size=1, max_size=30))
@example([("a", INT64_MIN, 0, bits(5e-324)), ("b", INT64_MAX, INT64_MAX, 1 << 63), ("c", 0, 0, 0x7FF8_0000_0000_0000)])
@example([("a", 0, 0, 0x7FEF_FFFF_FFFF_FFFF), ("b", 0, 0, 0x7FEF_FFFF_FFFF_FFFF)])  # finite; their sum is not
@example([("a", 0, 0, 0x7FF0_0000_0000_0000), ("b", 0, 0, 0xFFF0_0000_0000_0000), ("c", 0, 0, 0x000F_FFFF_FFFF_FFFF)])
def test_every_double_and_every_64_bit_step_survive_bit_by_bit(points: list[tuple[str, int, int, int]]) -> None:
    keys, steps, timestamps, words = map(list, zip(*points, strict=True))
    columns = columns_from_points(keys, steps, timestamps, [double(word) for word in words])
    event = read(RunLogged(metrics=columns))
    assert isinstance(event, RunLogged)
    assert event.metrics is not None
    assert event.metrics.keys == columns.keys
    assert (event.metrics.counts, event.metrics.steps) == (columns.counts, columns.steps)
    assert event.metrics.timestamps == columns.timestamps
    assert [bits(v) for v in event.metrics.values] == [bits(v) for v in columns.values]


@settings(deadline=None)
@given(st.dictionaries(KEY, TEXT, max_size=20), st.dictionaries(KEY, TEXT, max_size=20))
def test_every_key_and_value_survives(params: dict[str, str], tags: dict[str, str]) -> None:
    event = RunLogged(params=params, tags=tags)
    assert read(event) == event


@settings(deadline=None)
@given(run_events | experiment_events)
def test_every_event_survives(event: Event) -> None:
    first = read(event)
    # NaN is not equal to itself: compare what is written, in which it has a name.
    assert encode_payload(first) == encode_payload(event)
    assert type(first) is type(event)


@settings(deadline=None)
@given(
    st.builds(
        Envelope,
        id=st.uuids(),
        type=TEXT,
        version=st.integers(1, (1 << 15) - 1),
        stream=TEXT,
        sent_at=STEP,
        payload=st.just(msgspec.Raw(b'{"a": [1, "\\u00e9"]}')),
        actor=st.none() | TEXT,
        writer=st.none() | TEXT,
        sequence=st.none() | STEP,
    )
)
def test_every_envelope_survives_with_its_payload_byte_by_byte(envelope: Envelope) -> None:
    assume(envelope.type not in EVENT_TYPES)
    assert decode(encode(envelope)) == envelope


def refusal(data: bytes) -> InvalidEvent | None:
    """Why these bytes are no event, None where they are one; whatever else is raised is a fault."""
    try:
        decode_payload(decode(data))
    except (Undecodable, UnknownEventType) as error:
        return error
    return None


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=300))
@example(b"")
@example(b"null")
@example(b"[" * 100_000)
@example(b'{"id":' * 10_000)
@example(b'"\\ud800"')
def test_foreign_bytes_are_undecodable_and_nothing_worse(data: bytes) -> None:
    assert isinstance(refusal(data), Undecodable)


@settings(deadline=None, max_examples=300)
@given(run_events | experiment_events, st.data())
def test_a_damaged_event_is_refused_or_another_event_and_nothing_worse(event: Event, data: st.DataObject) -> None:
    whole = encode(sent(event, actor="ada", writer="w", sequence=1).envelope)
    cut = data.draw(st.integers(0, len(whole) - 1), label="cut")
    assert isinstance(refusal(whole[:cut]), Undecodable)
    changed = bytearray(whole)
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4), label="changed"):
        changed[at] = data.draw(st.integers(0, 255), label="to")
    refusal(bytes(changed))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=15,
)


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(sorted(EVENT_TYPES)), JSON, st.dictionaries(st.sampled_from(["metrics", "params", "tags"]), JSON)
)
def test_a_payload_of_another_shape_is_refused(kind: str, payload: object, fields: object) -> None:
    for found in (payload, fields, {"metrics": payload}):
        raw = json.dumps(found).encode()  # with surrogates escaped, and NaN, which is no JSON
        stream = "run/r" if EVENT_TYPES[kind] in RUN_EVENTS else "experiments"
        envelope = Envelope(event_id(1), kind, CURRENT_VERSION, stream, START_MS, msgspec.Raw(raw))
        try:
            event = decode_payload(envelope)
        except Undecodable:
            continue
        assert isinstance(event, EVENT_TYPES[kind])
        encode_payload(event)


@pytest.mark.parametrize("text", ["\0", "a\0b", "\\\0", "\\\\\0"])
@pytest.mark.parametrize("where", ["key", "value"])
def test_a_nul_is_refused_in_every_key_and_value(text: str, where: str) -> None:
    event = ExperimentTagSet(experiment_id=1, key="k" if where == "value" else text, value=text)
    with pytest.raises(Undecodable, match="NUL"):
        read(event)
    with pytest.raises(Undecodable, match="NUL"):
        read(RunLogged(params={text: "v"} if where == "key" else {"k": text}))


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "u0000", "\\", "\\\\"])
def test_a_backslash_before_u0000_is_not_a_nul(text: str) -> None:
    event = ExperimentTagSet(experiment_id=1, key=text, value=text)
    assert read(event) == event


@pytest.mark.parametrize("surrogate", ["\ud800", "a\udfffb", "\udc00\ud800"])
def test_a_lone_surrogate_is_refused_however_it_is_written(surrogate: str) -> None:
    kind, stream = "ExperimentTagSet", "experiments"
    escaped = json.dumps({"experiment_id": 1, "key": "k", "value": surrogate}).encode()
    raw = json.dumps({"experiment_id": 1, "key": "k", "value": surrogate}, ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )
    for payload in (escaped, raw):
        envelope = Envelope(event_id(1), kind, 1, stream, START_MS, msgspec.Raw(payload))
        with pytest.raises(Undecodable):
            decode_payload(envelope)
        assert isinstance(refusal(b'{"actor":' + payload[34:-1] + b"}"), Undecodable)
    with pytest.raises(UnicodeEncodeError):
        encode_payload(ExperimentTagSet(experiment_id=1, key="k", value=surrogate))


@pytest.mark.parametrize("field", ["type", "stream", "actor", "writer"])
def test_an_envelope_with_a_nul_or_an_endless_name_is_refused(field: str) -> None:
    known = {"type": "Foreign", "stream": "run/r", "actor": "a", "writer": "w"}
    for name in ("a\0b", "x" * 1025):
        envelope = Envelope(
            id=event_id(1), version=1, sent_at=START_MS, payload=msgspec.Raw(b"{}"), **(known | {field: name})
        )  # type: ignore[arg-type]
        with pytest.raises(Undecodable):
            decode(encode(envelope))
        with pytest.raises(Undecodable):
            check(envelope)


def test_an_unknown_type_or_version_is_told_apart_from_what_is_broken() -> None:
    known = sent(RunLogged(tags={"k": "v"})).envelope
    newer = msgspec.structs.replace(known, version=CURRENT_VERSION + 1)
    foreign = msgspec.structs.replace(known, type="RunForked")
    for envelope in (newer, foreign):
        with pytest.raises(UnknownEventType):
            decode_payload(decode(encode(envelope)))
    with pytest.raises(Undecodable):
        decode(encode(msgspec.structs.replace(known, version=0)))


@pytest.mark.parametrize(
    ("kind", "stream"),
    [
        ("RunLogged", "experiments"),
        ("RunLogged", "run/"),
        ("ExperimentDeleted", "run/r"),
        ("ExperimentDeleted", "experiments/1"),
        ("ExperimentDeleted", ""),
    ],
)
def test_an_event_in_a_stream_that_is_not_its_own_is_refused(kind: str, stream: str) -> None:
    envelope = Envelope(event_id(1), kind, 1, stream, START_MS, msgspec.Raw(b"{}"))
    with pytest.raises(Undecodable, match="stream"):
        decode(encode(envelope))


def test_a_few_bytes_cannot_stand_for_more_points_than_a_chunk_holds() -> None:
    """One entry stands for all points of a column: without a bound, a small event fills the memory."""
    columns = MetricColumns(keys=["a"], counts=[(1 << 31) - 1], steps=[0], timestamps=[0], values=[1.0])
    with pytest.raises(Undecodable, match="points"):
        read(RunLogged(metrics=columns))


@pytest.mark.parametrize("number", [1 << 63, -(1 << 63) - 1, 1 << 70])
@pytest.mark.parametrize("field", ["experiment_id", "updated_at"])
def test_a_number_that_postgresql_cannot_hold_is_refused(field: str, number: int) -> None:
    payload = json.dumps({"experiment_id": 1, "updated_at": 1} | {field: number}).encode()
    envelope = Envelope(event_id(1), "ExperimentDeleted", 1, "experiments", START_MS, msgspec.Raw(payload))
    with pytest.raises(Undecodable):
        decode_payload(envelope)


def test_an_id_is_any_uuid() -> None:
    envelope = msgspec.structs.replace(sent(RunLogged()).envelope, id=UUID(int=0))
    assert decode(encode(envelope)).id == UUID(int=0)
