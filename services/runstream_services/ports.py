"""What the services ask of each other and of the servers behind them; adapters and services implement these."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from runstream_projections.decisions import Decision
from runstream_projections.projection import Statement
from runstream_schemas.envelope import Envelope
from runstream_schemas.events import Event, RunInputsLogged, RunLogged, RunOutputsLogged
from runstream_schemas.positions import Head

#: What decoded events take besides their text, about: a param or a tag is two string objects and their place in a
#: dictionary, a point a key and a value, and where they differ from point to point a step and a timestamp each, a
#: dataset that a run uses two objects and a dictionary.
TEXT_BYTES: Final = 200
POINT_BYTES: Final = 100
INTEGER_BYTES: Final = 40
DATASET_BYTES: Final = 600


def memory_bytes(envelope: Envelope, event: Event) -> int:
    """About what a decoded event takes in memory: small values take ten times their text."""
    size = len(envelope.payload)
    if type(event) is RunLogged:
        metrics = event.metrics
        if metrics is not None:
            size += POINT_BYTES * len(metrics.values) + INTEGER_BYTES * (len(metrics.steps) + len(metrics.timestamps))
        return size + TEXT_BYTES * (len(event.params) + len(event.tags))
    if type(event) is RunInputsLogged:
        tags = sum(len(use.tags) for use in event.datasets)
        return size + DATASET_BYTES * len(event.datasets) + TEXT_BYTES * (tags + len(event.models))
    if type(event) is RunOutputsLogged:
        return size + TEXT_BYTES * len(event.models)
    return size + TEXT_BYTES * len(getattr(event, "tags", ()))


class Outcome(NamedTuple):
    """What became of an emitted event: where it is in the log, and what was decided there.

    ``repeats`` says that the log had an event of this id, perhaps this very one: it is that event's outcome.
    """

    position: int
    decision: Decision
    repeats: bool = False


@dataclass(slots=True)
class Delivery:
    """An event on its way from a bus to the log.

    ``offset`` is its place at its origin. ``event`` is the decoded payload where the sender is in this process, so
    that nobody decodes it twice. ``outcome`` is resolved for a sender that waits in this process. ``size`` is what
    :func:`memory_bytes` says of it.
    """

    offset: int
    envelope: Envelope
    event: Event
    outcome: Future[Outcome] | None = None
    size: int = 0


class Unreadable(Event, frozen=True):
    """Stands for an event of the log that cannot be decoded; ``type`` is what the log says it is."""

    type: str
    reason: str


@dataclass(slots=True)
class Recorded:
    """An event of the log, decoded, or :class:`Unreadable` in its place.

    ``decision`` is None where it must be looked up. ``size`` is what :func:`memory_bytes` says of it, where it is kept.
    ``experiment_id`` is the experiment of a run's event that was accepted.
    """

    position: int
    envelope: Envelope
    event: Event
    decision: Decision | None = None
    released: bool = False  # deciding it released earlier, waiting events
    size: int = 0
    experiment_id: int | None = None


class Numbered(NamedTuple):
    """Deliveries as the next rows of the log, one entry each in every column; ``head`` is the end they make."""

    head: Head
    payloads: list[bytes]
    hashes: list[bytes]
    chains: list[bytes]


class Draft(NamedTuple):
    """Decisions for events that are about to be appended, and the rows that store them.

    ``experiments`` has an entry for each event: the experiment of its run, None where it is of none that exists.
    """

    decisions: dict[int, Decision]
    experiments: list[int | None]
    releases: frozenset[int]
    statements: Sequence[Statement]
    token: object


class CoDecider(Protocol):
    """Decides events in the transaction that appends them, so that one commit makes both durable."""

    @property
    def lease(self) -> tuple[int, str, int]:
        """(version, owner, epoch) of the ``decisions`` checkpoint that this process holds."""

    async def draft(self, after: int, deliveries: Sequence[Delivery]) -> Draft:
        """Decide ``deliveries`` as the events right after position ``after``."""

    def accept(self, draft: Draft) -> None:
        """The draft was committed: later drafts build on it."""

    async def decided(self, positions: Sequence[int]) -> dict[int, Decision]:
        """Return the stored decisions among ``positions``; what is absent was accepted without a result."""

    async def reset(self) -> None:
        """Another process moved the log: forget cached state and catch up with the log's head."""


class RunRegister(Protocol):
    """Which runs exist, as decided."""

    def knows_run(self, run_id: str) -> bool:
        """Tell whether the run is certainly there; False says nothing."""


class ReadSide(Protocol):
    """How far the projections are."""

    async def wait_for(self, names: Sequence[str], position: int, deadline_s: float) -> dict[str, str]:
        """Wait until ``names`` contain the log up to ``position``; return the ending of each one's table names."""

    def positions(self) -> dict[str, int]:
        """How far each projection is that this process holds; empty while that is in doubt."""

    def parked_at(self, stream: str) -> tuple[str, int] | None:
        """The projection that cannot fold this stream, and the position that it stopped at."""
