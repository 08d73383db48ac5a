"""What an Idempotency-Key makes of a call: the same id and writer for the same call, others for any other."""

from __future__ import annotations

from uuid import RFC_4122

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_schemas.errors import RequestError
from runstream_services.gateway.sender import ANYONE, Sender

KEYS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40).map(str.encode)
CALLS = st.tuples(st.sampled_from([None, "a", "ab"]), KEYS, st.sampled_from(["/x", "/xy"]), st.binary(max_size=4))


def sent(call: tuple[str | None, bytes, str, bytes]) -> Sender:
    actor, key, path, body = call
    return Sender(actor).with_key(key, path, body)


@given(CALLS, CALLS)
def test_calls_are_the_same_event_where_actor_path_and_key_are_the_same(
    one: tuple[str | None, bytes, str, bytes], other: tuple[str | None, bytes, str, bytes]
) -> None:
    first, second = sent(one), sent(other)
    assert first == sent(one)
    assert (first.event_id == second.event_id) == (one[:3] == other[:3])
    assert (first.writer == second.writer) == (one[3] == other[3])
    assert first.actor == one[0]


@given(KEYS)
def test_the_id_is_a_uuid_of_a_version_of_its_own(key: bytes) -> None:
    event_id = ANYONE.with_key(key, "/x", b"").event_id
    assert event_id is not None
    assert (event_id.version, event_id.variant) == (8, RFC_4122)


def test_a_key_has_1_to_255_visible_characters() -> None:
    assert ANYONE.with_key(b"k" * 255, "/x", b"").event_id is not None
    for key in (b"", b"k" * 256, b"a b", b"a\tb", b"a\x7f", b"\x80", "ä".encode()):
        with pytest.raises(RequestError, match="1 to 255 visible ASCII") as caught:
            ANYONE.with_key(key, "/x", b"")
        assert caught.value.code == "INVALID_PARAMETER_VALUE"
