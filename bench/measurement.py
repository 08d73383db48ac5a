"""What one row found on one server."""

from __future__ import annotations

from dataclasses import dataclass, field


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
