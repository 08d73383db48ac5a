"""Accepted, rejected or waiting, and why: decided in log order, from earlier events alone.

``decide`` is pure: (state, events) -> decisions and what changed. The state is the part that deciding these events
needs, loaded beforehand (``needs``); ids of experiments are the next integer, so the log alone gives them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import Final, Literal, NamedTuple
from uuid import UUID

from runstream_schemas.events import (
    RUN_EVENTS,
    Event,
    ExperimentCreated,
    ExperimentDeleted,
    ExperimentEnsured,
    ExperimentRenamed,
    ExperimentRestored,
    ExperimentTagDeleted,
    ExperimentTagSet,
    RunCreated,
    RunDeleted,
    RunLogged,
    RunModelLogged,
    RunRestored,
    RunTagDeleted,
    RunUpdated,
)
from runstream_schemas.ids import run_of

#: Events that may wait for one run (or for one ensured experiment); further ones are rejected.
WAITING_LIMIT: Final = 10_000

#: MLflow's tags that name a run, and that list what ``runs/log-model`` logged, as JSON.
RUN_NAME_TAG: Final = "mlflow.runName"
MODEL_HISTORY_TAG: Final = "mlflow.log-model.history"


@dataclass
class Claim:
    """An event of the log, about to be decided."""

    position: int
    event_id: UUID
    stream: str
    event: Event

    @cached_property
    def params(self) -> list[tuple[bytes, bytes]]:
        """The hash of each param's key and the digest of its value, in the order of the event's params."""
        if not isinstance(self.event, RunLogged):
            return []
        owner = _hash(self.stream)
        return [(owner + _hash(key), value_digest(value)) for key, value in self.event.params.items()]


class Decision(NamedTuple):
    """What became of a claim; ``code`` and ``message`` are MLflow's, ``result`` an experiment id."""

    verdict: Literal["accepted", "rejected", "waiting"]
    code: str | None = None
    message: str | None = None
    result: int | None = None
    waits_for: str | None = None

    @property
    def is_row(self) -> bool:
        """Accepted without a result is the absence of a row."""
        return self.verdict != "accepted" or self.result is not None


ACCEPTED: Final = Decision("accepted")


class Lifecycle(NamedTuple):
    """Deleted or not, and the position that says so."""

    deleted: bool
    at: int


class Experiment(NamedTuple):
    """What deciding needs of an experiment."""

    name: str
    lifecycle: Lifecycle


class Run(NamedTuple):
    """What deciding needs of a run."""

    experiment_id: int
    lifecycle: Lifecycle


@dataclass(slots=True)
class State:
    """What earlier events left behind, as far as a batch needs it. Absent keys were looked up and are not there."""

    runs: dict[str, Run] = field(default_factory=dict)
    experiments: dict[int, Experiment] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    ensured: dict[UUID, int] = field(default_factory=dict)
    params: dict[bytes, bytes] = field(default_factory=dict)
    tags: set[bytes] = field(default_factory=set)
    waiting: dict[str, list[Claim]] = field(default_factory=dict)
    waiting_counts: dict[str, int] = field(default_factory=dict)
    next_experiment_id: int = 0


@dataclass(slots=True)
class Changes:
    """What a decided batch adds to the state; kept apart so that a failed append leaves the state alone."""

    decisions: dict[int, Decision] = field(default_factory=dict)
    late: list[tuple[Claim, int, Decision]] = field(default_factory=list)
    runs: dict[str, Run] = field(default_factory=dict)
    experiments: dict[int, Experiment] = field(default_factory=dict)
    names: dict[str, int | None] = field(default_factory=dict)
    ensured: dict[UUID, int] = field(default_factory=dict)
    params: dict[bytes, bytes] = field(default_factory=dict)
    tags: dict[bytes, bool] = field(default_factory=dict)
    waiting: dict[str, list[Claim]] = field(default_factory=dict)
    next_experiment_id: int = 0

    def __bool__(self) -> bool:
        """Whether there is anything to store: not where all were accepted and only logged metrics."""
        return bool(
            self.decisions or self.late or self.runs or self.experiments or self.ensured or self.params or self.tags
        )


#: Lengths of what stands for a key, and for a param's value.
HASH_BYTES: Final = 20
DIGEST_BYTES: Final = 8


def key_hash(owner: str, key: str) -> bytes:
    """Return 20 bytes that stand for a key of a run or experiment; the keys of one owner are neighbours in an index."""
    return _hash(owner) + _hash(key)


@lru_cache(maxsize=16_384)
def _hash(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=HASH_BYTES // 2).digest()


def value_digest(value: str) -> bytes:
    """Return 8 bytes that tell a param's value from another."""
    return blake2b(value.encode(), digest_size=DIGEST_BYTES).digest()


def experiment_owner(experiment_id: int) -> str:
    """Return the owner of an experiment's tags, in the form of a stream's name."""
    return f"experiment/{experiment_id}"


def decide(state: State, claims: Sequence[Claim]) -> Changes:
    """Decide ``claims`` in order; ``state`` is only read. Released waiting events are among ``Changes.late``."""
    court = _Court(state)
    for claim in claims:
        court.hear(claim)
    return court.changes


class _Court:
    """One batch being decided: the state before it, seen through what the batch has changed so far."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.changes = Changes(next_experiment_id=state.next_experiment_id)

    def hear(self, claim: Claim) -> None:
        decision = self.decide(claim, claim.position)
        if decision.verdict == "waiting" and decision.waits_for is not None:
            decision = self.queue(claim, decision)
        if decision.is_row:
            self.changes.decisions[claim.position] = decision
        self.release(claim, claim.position, decision)

    def queue(self, claim: Claim, decision: Decision) -> Decision:
        key = decision.waits_for or ""
        queue = self.changes.waiting.setdefault(key, [])
        if self.state.waiting_counts.get(key, 0) + len(queue) >= WAITING_LIMIT:
            return Decision(
                "rejected",
                "RESOURCE_DOES_NOT_EXIST",
                f"{WAITING_LIMIT} events already wait for {key}, which does not exist yet",
            )
        queue.append(claim)
        return decision

    def release(self, claim: Claim, at: int, decision: Decision) -> None:
        """Decide what waited for this event, here and now, in the order in which it was logged."""
        if decision.verdict != "accepted":
            return
        if isinstance(claim.event, RunCreated):
            key = claim.stream
        elif isinstance(claim.event, ExperimentEnsured):
            key = str(claim.event_id)
        else:
            return
        waiting = [*self.state.waiting.get(key, ()), *self.changes.waiting.pop(key, ())]
        for waiter in waiting:
            late = self.decide(waiter, at)
            self.changes.late.append((waiter, at, late))
            self.release(waiter, at, late)

    def decide(self, claim: Claim, at: int) -> Decision:
        event = claim.event
        if isinstance(event, RunLogged):
            return self.run_logged(claim, event)
        if isinstance(event, RunCreated):
            return self.run_created(claim, event, at)
        if isinstance(event, RUN_EVENTS):
            return self.run_changed(claim, event, at)
        if isinstance(event, ExperimentCreated | ExperimentEnsured):
            return self.experiment_named(claim, event, at)
        return self.experiment_changed(event, at)

    # Runs

    def run(self, run_id: str) -> Run | None:
        return self.changes.runs.get(run_id) or self.state.runs.get(run_id)

    def refusal(self, claim: Claim) -> Decision | None:
        """Waiting for an unknown run, rejected for a deleted one, None for one that can be written."""
        run_id = run_of(claim.stream)
        run = self.run(run_id)
        if run is None:
            return Decision("waiting", waits_for=claim.stream)
        experiment = self.experiment(run.experiment_id)
        lifecycle = run.lifecycle
        if experiment is not None and experiment.lifecycle.at > lifecycle.at:
            lifecycle = experiment.lifecycle
        if lifecycle.deleted:
            return _inactive(f"The run {run_id}")
        return None

    def run_logged(self, claim: Claim, event: RunLogged) -> Decision:
        refusal = self.refusal(claim)
        if refusal is not None:
            return refusal
        if event.params:
            new: dict[bytes, bytes] = {}
            earlier, before = self.changes.params, self.state.params
            for (key, value), (param, digest) in zip(event.params.items(), claim.params, strict=True):
                known = earlier.get(param) or before.get(param)
                if known is None:
                    new[param] = digest
                elif known != digest:
                    return _param_changed(run_of(claim.stream), key, value)
            self.changes.params.update(new)
        for key in event.tags:
            self.changes.tags[key_hash(claim.stream, key)] = True
        return ACCEPTED

    def run_created(self, claim: Claim, event: RunCreated, at: int) -> Decision:
        run_id = run_of(claim.stream)
        if self.run(run_id) is not None:
            return Decision("rejected", "RESOURCE_ALREADY_EXISTS", f"Run '{run_id}' already exists.")
        experiment_id = event.experiment_id
        if event.ensured_by is not None:
            experiment_id = self.changes.ensured.get(event.ensured_by, self.state.ensured.get(event.ensured_by))
            if experiment_id is None:
                return Decision("waiting", waits_for=str(event.ensured_by))
        experiment = self.experiment(experiment_id)
        if experiment is None or experiment_id is None:
            return _no_experiment(experiment_id)
        if experiment.lifecycle.deleted:
            return _inactive(f"The experiment {experiment_id}")
        self.changes.runs[run_id] = Run(experiment_id, Lifecycle(False, at))
        for key in (*event.tags, RUN_NAME_TAG) if event.name else event.tags:
            self.changes.tags[key_hash(claim.stream, key)] = True
        return ACCEPTED if event.ensured_by is None else Decision("accepted", result=experiment_id)

    def run_changed(self, claim: Claim, event: Event, at: int) -> Decision:
        """Datasets and models that a run names need not exist: their events ask of the run alone."""
        refusal = self.refusal(claim)
        run = self.run(run_of(claim.stream))
        if isinstance(event, RunDeleted | RunRestored) and run is not None:
            self.changes.runs[run_of(claim.stream)] = run._replace(
                lifecycle=Lifecycle(isinstance(event, RunDeleted), at)
            )
            return ACCEPTED
        if refusal is not None:
            return refusal
        if isinstance(event, RunTagDeleted):
            return self.tag_deleted(claim.stream, event.key, f"run with id {run_of(claim.stream)}")
        if isinstance(event, RunUpdated) and event.name:
            self.changes.tags[key_hash(claim.stream, RUN_NAME_TAG)] = True
        elif isinstance(event, RunModelLogged):
            self.changes.tags[key_hash(claim.stream, MODEL_HISTORY_TAG)] = True
        return ACCEPTED

    def tag_deleted(self, owner: str, key: str, where: str) -> Decision:
        tag = key_hash(owner, key)
        if not self.changes.tags.get(tag, tag in self.state.tags):
            return Decision("rejected", "RESOURCE_DOES_NOT_EXIST", f"No tag with name: {key} in {where}")
        self.changes.tags[tag] = False
        return ACCEPTED

    # Experiments

    def experiment(self, experiment_id: int | None) -> Experiment | None:
        if experiment_id is None:
            return None
        return self.changes.experiments.get(experiment_id) or self.state.experiments.get(experiment_id)

    def named(self, name: str) -> int | None:
        return self.changes.names[name] if name in self.changes.names else self.state.names.get(name)

    def experiment_named(self, claim: Claim, event: ExperimentCreated | ExperimentEnsured, at: int) -> Decision:
        known = self.named(event.name)
        if known is not None and isinstance(event, ExperimentCreated):
            message = f"Experiment(name={event.name}) already exists, with id {known}."
            experiment = self.experiment(known)
            if experiment is not None and experiment.lifecycle.deleted:
                message += " It is deleted: restore it, or choose another name."
            return Decision("rejected", "RESOURCE_ALREADY_EXISTS", message)
        if known is None:
            known = self.changes.next_experiment_id
            self.changes.next_experiment_id += 1
            self.changes.experiments[known] = Experiment(event.name, Lifecycle(False, at))
            self.changes.names[event.name] = known
        if isinstance(event, ExperimentEnsured):
            self.changes.ensured[claim.event_id] = known
        else:
            for key in event.tags:
                self.changes.tags[key_hash(experiment_owner(known), key)] = True
        return Decision("accepted", result=known)

    def experiment_changed(self, event: Event, at: int) -> Decision:
        assert isinstance(  # the last types that are left; mypy and a law over all types hold it
            event,
            ExperimentRenamed | ExperimentDeleted | ExperimentRestored | ExperimentTagSet | ExperimentTagDeleted,
        )
        number = event.experiment_id
        experiment = self.experiment(number)
        if experiment is None:
            return _no_experiment(number)
        if isinstance(event, ExperimentRestored):
            if not experiment.lifecycle.deleted:
                return Decision("rejected", "RESOURCE_DOES_NOT_EXIST", f"No deleted experiment with id={number} exists")
            self.changes.experiments[number] = experiment._replace(lifecycle=Lifecycle(False, at))
            return ACCEPTED
        if experiment.lifecycle.deleted:
            if isinstance(event, ExperimentDeleted):
                return Decision("rejected", "RESOURCE_DOES_NOT_EXIST", f"No active experiment with id={number} exists")
            return _inactive(f"The experiment {number}")
        if isinstance(event, ExperimentDeleted):
            self.changes.experiments[number] = experiment._replace(lifecycle=Lifecycle(True, at))
        elif isinstance(event, ExperimentRenamed):
            return self.experiment_renamed(number, experiment, event.name)
        elif isinstance(event, ExperimentTagSet):
            self.changes.tags[key_hash(experiment_owner(number), event.key)] = True
        else:
            return self.tag_deleted(experiment_owner(number), event.key, f"experiment with id {number}")
        return ACCEPTED

    def experiment_renamed(self, number: int, experiment: Experiment, name: str) -> Decision:
        holder = self.named(name)
        if holder is not None and holder != number:
            return Decision("rejected", "BAD_REQUEST", f"Experiment(name={name}) already exists, with id {holder}.")
        self.changes.names[experiment.name] = None
        self.changes.names[name] = number
        self.changes.experiments[number] = experiment._replace(name=name)
        return ACCEPTED


def _inactive(what: str) -> Decision:
    message = f"{what} must be in the 'active' state. Current state is deleted: restore it first."
    return Decision("rejected", "INVALID_PARAMETER_VALUE", message)


def _no_experiment(experiment_id: int | None) -> Decision:
    return Decision("rejected", "RESOURCE_DOES_NOT_EXIST", f"No Experiment with id={experiment_id} exists")


def _param_changed(run_id: str, key: str, value: str) -> Decision:
    shown = value if len(value) <= 250 else value[:250] + "…"
    return Decision(
        "rejected",
        "INVALID_PARAMETER_VALUE",
        f"Changing param values is not allowed. Param with key='{key}' was already logged with another value for "
        f"run ID='{run_id}'. Attempted logging new value '{shown}'.",
    )


def waits_on(claims: Iterable[Claim]) -> list[str]:
    """Return the keys under which events may be waiting for these."""
    return [c.stream for c in claims if isinstance(c.event, RunCreated)] + [
        str(c.event_id) for c in claims if isinstance(c.event, ExperimentEnsured)
    ]
