"""How a server is doing: the answer of ``GET /api/runstream/v1/status``.

Times are in milliseconds since the Unix epoch. Counts of rows end at :data:`MOST_COUNTED`, lists at
:data:`MOST_LISTED`.
"""

from __future__ import annotations

from typing import Final

import msgspec

#: Counts of what a database keeps are exact up to here.
MOST_COUNTED: Final = 100_000

#: Entries of each list, the latest ones.
MOST_LISTED: Final = 20


class LogStatus(msgspec.Struct, frozen=True):
    """The end of the log: its last position (0: none), that event's time and the hash of the chain up to it, as hex."""

    position: int
    recorded_at: int
    chain: str


class ProjectionStatus(msgspec.Struct, frozen=True):
    """A version of a projection.

    ``state`` is ``live`` for the one that is read, ``building`` or ``checking`` in a rebuild, ``retired`` until it is
    dropped. ``lag_events`` are those that it does not hold, ``lag_s`` how long the first of them has been in the log;
    both are None for a retired one.
    """

    name: str
    version: int
    state: str
    position: int
    lag_events: int | None
    lag_s: float | None


class Rejected(msgspec.Struct, frozen=True):
    """An event that did not take effect, and why, in MLflow's terms."""

    position: int
    error_code: str
    message: str


class Waiting(msgspec.Struct, frozen=True):
    """How many events wait for a run's stream, or for the event that ensures an experiment."""

    waits_for: str
    events: int


class Parked(msgspec.Struct, frozen=True):
    """An event that a projection could not fold, or that came behind one in its stream."""

    projection: str
    version: int
    position: int
    stream: str
    reason: str


class DeadLetter(msgspec.Struct, frozen=True):
    """What could not become an event: where it came from, why, and its size in bytes."""

    id: int
    recorded_at: int
    topic: str
    partition: int
    offset: int
    reason: str
    size: int


class Stored(msgspec.Struct, frozen=True):
    """What the database says: counts since the log began, and the latest of each."""

    log: LogStatus
    projections: list[ProjectionStatus]
    rejected: int
    last_rejected: list[Rejected]
    waiting: int
    waiting_for: list[Waiting]
    parked: int
    first_parked: list[Parked]
    dead_letters: int
    last_dead_letters: list[DeadLetter]


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """What this process has done since it started, and what it has in hand.

    ``*_s`` are seconds; rates are means over the last ten seconds. ``requests`` are answers by class of status,
    ``2xx`` and so on. ``rejected``, ``dead_lettered`` and ``truncated_values`` are of this process alone.
    """

    uptime_s: float = 0.0
    events_per_s: float = 0.0
    points_per_s: float = 0.0
    connections: int = 0
    queued_events: int = 0
    queued_bytes: int = 0
    appended_events: int = 0
    appended_points: int = 0
    appends: int = 0
    append_s: float = 0.0
    rejected: int = 0
    dead_lettered: int = 0
    folded_events: int = 0
    folds: int = 0
    fold_s: float = 0.0
    truncated_values: int = 0
    requests: dict[str, int] = {}


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything; ``stored`` is None while PostgreSQL does not answer, and ``trouble`` says why."""

    version: str
    process: Process
    stored: Stored | None = None
    trouble: str | None = None
