"""What the projector decides: which events take effect and in which order, and how long to coalesce. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from runstream_projections.projection import Effective
from runstream_schemas.events import RunCreated
from runstream_services.ports import Recorded


class Decided(NamedTuple):
    """A row of the decisions: what became of the event at ``position``, and at which position."""

    position: int
    verdict: str
    decided_at: int | None
    result: int | None


def effective(events: Sequence[Recorded]) -> list[Effective]:
    """Return what takes effect of events that carry their decisions and released nothing."""
    return [
        Effective(e.position, e.envelope.stream, e.event, e.decision.result, e.experiment_id)
        for e in events
        if e.decision is not None and e.decision.verdict == "accepted"
    ]


def effective_in_order(
    events: Sequence[Recorded],
    decided: Iterable[Decided],
    late: Iterable[Recorded],
    experiments: Mapping[str, int],
) -> list[Effective]:
    """Return what takes effect in a stretch of the log: the log minus the rejected.

    An event that waited takes effect right after the event it waited for, at that position. ``late`` are such events
    from before the stretch; those within it are among ``events``. ``experiments`` has that of each run, by stream.
    """
    rows = {row.position: row for row in decided}
    ordered: list[tuple[int, bool, bool, int, Effective]] = []
    for event in (*events, *late):
        position, row = event.position, rows.get(event.position)
        if row is not None and row.verdict != "accepted":
            continue
        at = position if row is None or row.decided_at is None else row.decided_at
        result = None if row is None else row.result
        # What waited comes after what released it, though its position is lower; a run that waited for its
        # experiment comes before what waited for the run.
        waited, follows_a_run = at != position, not isinstance(event.event, RunCreated)
        stream = event.envelope.stream
        found = Effective(at, stream, event.event, result, experiments.get(stream))
        ordered.append((at, waited, follows_a_run, position, found))
    ordered.sort(key=lambda entry: entry[:4])
    return [entry[-1] for entry in ordered]


@dataclass(frozen=True, slots=True)
class Coalescing:
    """How long changes are gathered while nobody waits to read them.

    At least ``least_s``, since many events make one change; longer while changes are dear: the projector then takes
    about a quarter of the time for itself, up to ``most_s``.
    """

    least_s: float = 0.05
    most_s: float = 0.5
    pause_per_work: float = 3.0

    def pause_s(self, last_change_s: float) -> float:
        """Return how long to gather after a change that took ``last_change_s``."""
        return min(self.most_s, max(self.least_s, self.pause_per_work * last_change_s))
