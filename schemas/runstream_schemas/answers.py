"""What senders of events and those who wait for them are told: answers below ``/api/runstream/v1``."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

import msgspec


class EventResult(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What became of one event of a batch.

    ``position`` is its place in the log, None where it is not in the log: then it was refused, and sending it again
    changes nothing. ``id`` is None where the event has none that could be read. ``result`` is the id of the experiment
    that the event created or ensured, or that a run was ensured in. ``error_code`` and ``message`` say why it was
    rejected, in MLflow's terms. ``hidden_by`` is the projection that does not show it yet, since it could not fold an
    earlier event of the stream.
    """

    id: UUID | None
    status: Literal["accepted", "rejected", "waiting"]
    position: int | None = None
    result: int | None = None
    error_code: str | None = None
    message: str | None = None
    hidden_by: str | None = None


class BatchResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of each event, in the order in which they were sent; ``position`` is the highest, 0 without any."""

    position: int
    results: list[EventResult]


class Reached(msgspec.Struct, frozen=True):
    """Every projection holds the log up to ``position``; ``projections`` is how far each is by now."""

    position: int
    projections: dict[str, int]


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error in MLflow's shape; ``projections`` is how far each is, where a position was not reached."""

    error_code: str
    message: str
    projections: dict[str, int] = {}
