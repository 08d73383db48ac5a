"""What one row found on one server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.load import Load


@dataclass(frozen=True)
class Measurement:
    """A figure in the row's unit, or ``None`` and why in ``problems``.

    ``errors`` counts wrong and missing answers. ``problems`` are sentences: what a read-back did not find, what did not
    start. A figure with problems never meets a target.
    """

    value: float | None
    p50_ms: float | None = None
    p99_ms: float | None = None
    errors: int = 0
    problems: tuple[str, ...] = ()
    notes: dict[str, float | int | str] = field(default_factory=dict)


def failed(reason: str) -> Measurement:
    """No figure, and why."""
    return Measurement(None, problems=(reason,))


def of_load(load: Load, problems: Sequence[str], notes: Mapping[str, float | int | str] | None = None) -> Measurement:
    """What a load reached, and what else was found."""
    if not load.drained:
        problems = [*problems, f"{load.sent - load.acknowledged - load.wrong} requests had no answer at the end"]
    return Measurement(
        value=load.rate,
        p50_ms=load.p50_ms,
        p99_ms=load.p99_ms,
        errors=load.errors,
        problems=tuple(problems),
        notes={
            "seconds": round(load.seconds, 1),
            "sent": load.sent,
            "acknowledged": load.acknowledged,
            "max_ms": load.max_ms,
            "wrk_us_per_request": round(load.wrk_us_per_request, 1),
            "wrk_share_of_a_core": round(load.wrk_share, 3),
            "idle_connections_closed": load.idle_closed,
            **({"first_wrong_answer": load.samples[0]} if load.samples else {}),
            **(notes or {}),
        },
    )
