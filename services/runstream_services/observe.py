"""Rates of what a process does, from looks at its counters: nothing is done for each event."""

from __future__ import annotations

from collections import deque
from typing import Final

#: Seconds between two looks, and looks that a rate is the mean of.
LOOK_S: Final = 1.0
LOOKS: Final = 10


class Rates:
    """Events and points per second over the last looks."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int, int]] = deque(maxlen=LOOKS + 1)

    def look(self, at_s: float, events: int, points: int) -> None:
        """Take in what the counters say at ``at_s``, on a clock that does not go back."""
        self._looks.append((at_s, events, points))

    def per_second(self) -> tuple[float, float]:
        """Events and points; 0 before there are two looks."""
        if len(self._looks) < 2:
            return 0.0, 0.0
        (began_s, events_then, points_then), (ended_s, events, points) = self._looks[0], self._looks[-1]
        passed_s = max(ended_s - began_s, 1e-9)
        return (events - events_then) / passed_s, (points - points_then) / passed_s
