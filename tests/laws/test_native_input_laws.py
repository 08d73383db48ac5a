"""Law of bad events: whatever bytes come in place of an event, it is read or it is refused as bad input."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from runstream_schemas.codec import encode
from runstream_schemas.envelope import Envelope
from runstream_schemas.errors import RequestError
from runstream_schemas.events import Event
from runstream_services.gateway.requests_events import id_of, parse_batch, read_event
from tests.laws.histories import histories
from tests.sent import Sent

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def read(raw: msgspec.Raw) -> tuple[Envelope, Event] | RequestError:
    try:
        return read_event(raw, None)
    except RequestError as refusal:
        return refusal


def taken_or_refused(raw: msgspec.Raw) -> None:
    found = read(raw)
    if isinstance(found, RequestError):
        assert (found.code, found.status) == ("INVALID_PARAMETER_VALUE", 400)
        assert msgspec.json.encode(found.message), "it can be sent"
        id_of(raw)
        return
    again = read(msgspec.Raw(encode(found[0])))
    assert not isinstance(again, RequestError)
    assert repr(again[1]) == repr(found[1])
    assert bytes(again[0].payload) == bytes(found[0].payload)


def events_of(body: bytes) -> list[msgspec.Raw]:
    try:
        return parse_batch(body)
    except RequestError:
        return []


@given(st.binary(max_size=200))
def test_a_body_of_any_bytes_is_a_batch_or_a_refusal(body: bytes) -> None:
    for raw in events_of(body):
        taken_or_refused(raw)


@settings(max_examples=40)
@given(histories(min_size=1, max_size=3), st.data())
def test_an_event_with_any_field_of_any_value_is_taken_or_refused(history: list[Sent], data: st.DataObject) -> None:
    for sent in history:
        fields = msgspec.json.decode(encode(sent.envelope))
        place = fields if data.draw(st.booleans()) else fields["payload"]
        if isinstance(place.get("metrics"), dict) and data.draw(st.booleans()):
            place = place["metrics"]
        if place:
            place[data.draw(st.sampled_from(sorted(place)))] = data.draw(json_values)
        taken_or_refused(msgspec.Raw(msgspec.json.encode(fields)))


@settings(max_examples=40)
@given(histories(min_size=1, max_size=3), st.data())
def test_an_event_with_changed_bytes_is_taken_or_refused(history: list[Sent], data: st.DataObject) -> None:
    for sent in history:
        changed = bytearray(encode(sent.envelope))
        for _ in range(data.draw(st.integers(1, 3))):
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
        taken_or_refused(msgspec.Raw(bytes(changed)))
        for raw in events_of(b'{"events":[' + bytes(changed) + b"]}"):
            taken_or_refused(raw)
