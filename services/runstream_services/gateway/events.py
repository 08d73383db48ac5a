"""Endpoint of events that clients send themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec

from runstream_schemas.answers import BatchResult, EventResult
from runstream_schemas.envelope import Envelope
from runstream_schemas.errors import RequestError, Unavailable, invalid
from runstream_schemas.events import Event
from runstream_services.gateway.http import Answer, Request
from runstream_services.gateway.positions import not_yet
from runstream_services.gateway.requests_events import id_of, parse_batch, read_event
from runstream_services.gateway.service import Gateway
from runstream_services.ports import Outcome

#: After so many bytes decoded, others' requests are answered.
TURN_BYTES: Final = 256 << 10

_encode: Final = msgspec.json.Encoder().encode


async def append(gateway: Gateway, request: Request) -> Answer:
    """``POST /events``: append events in the order sent, and say what became of each.

    200 says that the fate of every event is known. 503 says that it is not of some, or that nothing was sent since the
    bus is full; the same events sent again are the same events, so that a sender just does that.
    """
    if request.sender.event_id is not None:
        raise invalid("Idempotency-Key has no meaning here: an event that is sent again is known by its id.")
    sent, refused = await _read(parse_batch(request.body), request.sender.actor)
    try:
        outcomes = await gateway.emit_all(sent)
    except Unavailable as error:
        return not_yet(error)
    hidden = {stream: gateway.stream_hidden_by(stream) for stream in {envelope.stream for envelope, _ in sent}}
    results = [
        _result(envelope.id, outcome, hidden[envelope.stream])
        for (envelope, _), outcome in zip(sent, outcomes, strict=True)
    ]
    position = max((result.position or 0 for result in results), default=0)
    for place, result in refused:  # ascending: each lands where it was sent
        results.insert(place, result)
    return Answer(_encode(BatchResult(position=position, results=results)))


async def _read(
    raws: Sequence[msgspec.Raw], actor: str | None
) -> tuple[list[tuple[Envelope, Event]], list[tuple[int, EventResult]]]:
    """The events to append, and (place, result) of those that are refused before that."""
    sent: list[tuple[Envelope, Event]] = []
    refused: list[tuple[int, EventResult]] = []
    decoded = 0
    for place, raw in enumerate(raws):
        try:
            sent.append(read_event(raw, actor))
        except RequestError as error:
            refused.append((place, _result(id_of(raw), error)))
        decoded += len(raw)
        if decoded > TURN_BYTES:
            decoded = 0
            await asyncio.sleep(0)
    return sent, refused


def _result(event_id: UUID | None, outcome: Outcome | RequestError, hidden_by: str | None = None) -> EventResult:
    if isinstance(outcome, RequestError):
        return EventResult(id=event_id, status="rejected", error_code=outcome.code, message=outcome.message)
    decision = outcome.decision
    return EventResult(
        id=event_id,
        status=decision.verdict,
        position=outcome.position,
        result=decision.result,
        error_code=decision.code,
        message=decision.message,
        hidden_by=hidden_by,
    )
