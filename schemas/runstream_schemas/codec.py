"""Events to bytes and back: JSON, exact for every finite double, -0.0, NaN, the infinities and 64-bit integers.

JSON has no NaN: a value column holds the strings "NaN", "Infinity" and "-Infinity" in their place.
"""

from __future__ import annotations

import math
import re
from typing import Final

import msgspec

from runstream_schemas.columns import MetricColumns
from runstream_schemas.envelope import Envelope
from runstream_schemas.errors import Undecodable, UnknownEventType
from runstream_schemas.events import CURRENT_VERSION, EVENT_TYPES, RUN_EVENTS, Event, RunLogged
from runstream_schemas.ids import EXPERIMENTS, RUN_PREFIX
from runstream_schemas.upcast import upcast

#: An envelope above this is refused before it is parsed; a gateway's body limit lies well under it.
MAX_ENVELOPE_BYTES: Final = 32 << 20

#: ``\u0000`` after an even number of backslashes: an escaped NUL, not an escaped backslash before ``u0000``.
_ESCAPED_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

_encode = msgspec.json.Encoder().encode
_envelope_decoder = msgspec.json.Decoder(Envelope)
_decoders: Final[dict[str, msgspec.json.Decoder[Event]]] = {
    name: msgspec.json.Decoder(kind) for name, kind in EVENT_TYPES.items()
}


def encode_payload(event: Event) -> bytes:
    """Return the payload's JSON."""
    if isinstance(event, RunLogged) and event.metrics is not None:
        event = _with_names_for_non_finite(event, event.metrics)
    return _encode(event)


def _with_names_for_non_finite(event: RunLogged, metrics: MetricColumns) -> RunLogged:
    if _all_finite(metrics.values):
        return event
    return msgspec.structs.replace(
        event, metrics=msgspec.structs.replace(metrics, values=[_name_non_finite(v) for v in metrics.values])
    )


def _all_finite(values: list[float | str]) -> bool:
    """Tell cheaply whether no value needs a name: a finite sum has finite terms (the reverse need not hold)."""
    try:
        return math.isfinite(sum(values))  # type: ignore[arg-type]
    except TypeError:
        return False


def _name_non_finite(value: float | str) -> float | str:
    if isinstance(value, str) or math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def encode(envelope: Envelope) -> bytes:
    """Return the envelope as it goes onto the bus."""
    return _encode(envelope)


def decode(data: bytes) -> Envelope:
    """Return the envelope in ``data``, its payload untouched.

    Raises :class:`Undecodable` where it is not an envelope, or holds what no database text can hold (NUL).
    """
    if len(data) > MAX_ENVELOPE_BYTES:
        raise Undecodable(f"an envelope of {len(data)} bytes is over the limit of {MAX_ENVELOPE_BYTES}")
    try:
        envelope = _envelope_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Undecodable(f"not an event envelope: {error}") from error
    check(envelope)
    return envelope


def check(envelope: Envelope) -> None:
    """Raise :class:`Undecodable` unless the envelope's own fields can be stored and its type fits its stream."""
    for name in (envelope.type, envelope.stream, envelope.actor or "", envelope.writer or ""):
        if "\0" in name or len(name) > 1024:
            raise Undecodable(
                f"event {envelope.id}: a NUL or over 1,024 characters in its type, stream, actor or writer"
            )
    kind, stream = EVENT_TYPES.get(envelope.type), envelope.stream
    own = (
        len(stream) > len(RUN_PREFIX) and stream.startswith(RUN_PREFIX) if kind in RUN_EVENTS else stream == EXPERIMENTS
    )
    if kind is not None and not own:
        raise Undecodable(f"event {envelope.id}: {envelope.type} does not belong in stream {stream!r}")
    if not 0 < envelope.version < 1 << 15:
        raise Undecodable(f"event {envelope.id}: version {envelope.version} is out of range")
    for number in (envelope.sent_at, envelope.sequence or 0):
        if not -(1 << 63) <= number < 1 << 63:
            raise Undecodable(f"event {envelope.id}: sent_at or sequence is out of range")


def decode_payload(envelope: Envelope) -> Event:
    """Return the event in an envelope, brought up to the current version of its type.

    Raises :class:`UnknownEventType` for a type or version that is newer than this release, :class:`Undecodable` where
    the payload does not fit its type or holds a NUL.
    """
    decoder = _decoders.get(envelope.type)
    if decoder is None or envelope.version > CURRENT_VERSION:
        raise UnknownEventType(f"event {envelope.id}: {envelope.type} version {envelope.version} is not known here")
    payload = upcast(envelope.type, envelope.version, bytes(envelope.payload))
    if b"\\u0000" in payload and _ESCAPED_NUL.search(payload):
        raise Undecodable(f"event {envelope.id}: a NUL character, which PostgreSQL cannot store")
    try:
        event = decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Undecodable(f"event {envelope.id}: not a {envelope.type}: {error}") from error
    if isinstance(event, RunLogged) and event.metrics is not None:
        event.metrics.check()
    return event
