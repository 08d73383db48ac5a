"""What ``POST /api/runstream/v1/events`` asks for: ``{"events": [envelope, ...]}``, decoded one event at a time."""

from __future__ import annotations

import re
from typing import Final
from uuid import UUID

import msgspec

from runstream_schemas.codec import decode, decode_payload
from runstream_schemas.envelope import Envelope
from runstream_schemas.errors import InvalidEvent, invalid
from runstream_schemas.events import Event
from runstream_services.gateway.event_rules import check_event

#: Events of one call; the log appends as many at once.
MAX_EVENTS: Final = 2_000

#: Commas of one call, those within strings not counted: each stands for a number, a key or a param, which take many
#: times its bytes in memory. As many points as this fit through the bus at once.
MAX_COMMAS: Final = 500_000

#: Characters of what the decoder says, which may quote what it does not know.
MAX_WHY: Final = 1_000

_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
#: An escaped surrogate after an even number of backslashes; with its second half where it is one of a pair.
_SURROGATE: Final = re.compile(
    rb"(?<!\\)((?:\\\\)*)(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
_NOT_DECODED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    events: list[msgspec.Raw]


class _Named(msgspec.Struct):
    id: UUID


_decode_body: Final = msgspec.json.Decoder(_Body).decode
_decode_named: Final = msgspec.json.Decoder(_Named).decode


def parse_batch(body: bytes) -> list[msgspec.Raw]:
    """The events of a body, not decoded yet; 400 for a body that is none, or too large to be one call."""
    if body.count(b",") > MAX_COMMAS and _STRING.sub(b"", body).count(b",") > MAX_COMMAS:
        raise invalid(f"The request body has over {MAX_COMMAS} commas: send the events in several calls.")
    try:
        events = _events(body)
    except _NOT_DECODED as error:
        raise invalid(f'The request body is not {{"events": [...]}}: {str(error)[:MAX_WHY]}.') from None
    if len(events) > MAX_EVENTS:
        raise invalid(f"A call has at most {MAX_EVENTS} events, got {len(events)}: send them in several calls.")
    return events


def _events(body: bytes) -> list[msgspec.Raw]:
    try:
        return _decode_body(body).events
    except msgspec.DecodeError:
        # The decoder does not skip half a surrogate pair; bytes that are no UTF-8 it finds where it decodes the event.
        masked = _SURROGATE.sub(_masked, body)
        if masked == body:
            raise
        return _decode_body(masked).events


def _masked(found: re.Match[bytes]) -> bytes:
    return found[0] if len(found[2]) == 12 else found[1] + b"\xff" * 6


def read_event(raw: msgspec.Raw, actor: str | None) -> tuple[Envelope, Event]:
    """One event and its envelope, sent by ``actor``; 400 where it cannot be decoded or breaks a rule."""
    try:
        envelope = decode(bytes(raw))  # a copy: the payload must not hold the whole body in memory
        event = decode_payload(envelope)
    except InvalidEvent as error:
        raise invalid(str(error)[:MAX_WHY]) from error
    check_event(envelope, event)
    return envelope if actor is None else msgspec.structs.replace(envelope, actor=actor), event


def id_of(raw: msgspec.Raw) -> UUID | None:
    """The id of an event that may not be one."""
    try:
        return _decode_named(raw).id
    except _NOT_DECODED:
        return None
