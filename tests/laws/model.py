"""MLflow's semantics in dictionaries, one event at a time: what the decisions and the projections are compared with.

Written for being plainly right: a deleted experiment marks each of its runs, every waiting event is kept as it came.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from runstream_schemas.events import (
    Dataset,
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
    RunInputsLogged,
    RunLogged,
    RunModelLogged,
    RunOutputsLogged,
    RunRestored,
    RunTagDeleted,
    RunUpdated,
)
from runstream_schemas.ids import EXPERIMENTS
from tests.sent import Sent

RUN_NAME = "mlflow.runName"
HISTORY = "mlflow.log-model.history"
CONTEXT = "mlflow.data.context"


class Verdict(NamedTuple):
    """What became of an event."""

    verdict: str
    code: str | None = None
    result: int | None = None


ACCEPTED = Verdict("accepted")
WAITING = Verdict("waiting")


class Point(NamedTuple):
    """One metric point, as MLflow knows it."""

    timestamp: int
    step: int
    value: float


@dataclass
class Experiment:
    """An experiment as its endpoint shows it."""

    name: str
    location: str | None
    created: int
    updated: int
    deleted: bool = False
    tags: dict[str, str] = field(default_factory=dict)
    datasets: dict[tuple[str, str], Dataset] = field(default_factory=dict)
    summaries: set[tuple[str, str, str | None]] = field(default_factory=set)


@dataclass
class Run:
    """A run as its endpoint shows it."""

    experiment_id: int
    name: str
    user_id: str
    start: int
    status: str = "RUNNING"
    end: int | None = None
    deleted: bool = False
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    latest: dict[str, Point] = field(default_factory=dict)
    points: dict[str, list[Point]] = field(default_factory=dict)
    uses: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    models: list[str] = field(default_factory=list)
    outputs: dict[str, int] = field(default_factory=dict)


class Model:
    """A server that never forgets and never batches."""

    def __init__(self) -> None:
        self.experiments: dict[int, Experiment] = {}
        self.ensured: dict[UUID, int] = {}
        self.runs: dict[str, Run] = {}
        self.verdicts: dict[int, Verdict] = {}
        self._waiting: dict[str, list[tuple[int, Sent]]] = {}

    def log(self, history: Sequence[Sent]) -> Model:
        """Take events as the log's next, from position 1 on."""
        for position, sent in enumerate(history, len(self.verdicts) + 1):
            self._hear(position, sent)
        return self

    def _hear(self, position: int, sent: Sent) -> None:
        verdict = self._take(sent)
        self.verdicts[position] = verdict
        if verdict is WAITING:
            event = sent.event
            on = str(event.ensured_by) if isinstance(event, RunCreated) else sent.stream
            self._waiting.setdefault(on, []).append((position, sent))
        elif verdict.verdict == "accepted" and isinstance(sent.event, RunCreated | ExperimentEnsured):
            on = sent.stream if isinstance(sent.event, RunCreated) else str(sent.id)
            for waiter in self._waiting.pop(on, []):
                self._hear(*waiter)

    def _take(self, sent: Sent) -> Verdict:
        if sent.stream == EXPERIMENTS:
            return self._take_experiment(sent.id, sent.event)
        return self._take_run(sent.stream.removeprefix("run/"), sent.event)

    # Experiments

    def _named(self, name: str) -> int | None:
        return next((number for number, known in self.experiments.items() if known.name == name), None)

    def _take_experiment(self, event_id: UUID, event: Event) -> Verdict:
        if isinstance(event, ExperimentCreated | ExperimentEnsured):
            number = self._named(event.name)
            if isinstance(event, ExperimentCreated):
                if number is not None:
                    return Verdict("rejected", "RESOURCE_ALREADY_EXISTS")
                location, tags = event.artifact_location, dict(event.tags)
            else:
                location, tags = None, {}
            if number is None:
                number = len(self.experiments)
                self.experiments[number] = Experiment(
                    event.name, location, event.created_at, event.created_at, tags=tags
                )
            if isinstance(event, ExperimentEnsured):
                self.ensured[event_id] = number
            return Verdict("accepted", result=number)
        experiment = self.experiments.get(event.experiment_id)  # type: ignore[attr-defined]
        if experiment is None:
            return Verdict("rejected", "RESOURCE_DOES_NOT_EXIST")
        return self._change_experiment(experiment, event)

    def _change_experiment(self, experiment: Experiment, event: Event) -> Verdict:
        if isinstance(event, ExperimentDeleted | ExperimentRestored):
            deletes = isinstance(event, ExperimentDeleted)
            if experiment.deleted == deletes:
                return Verdict("rejected", "RESOURCE_DOES_NOT_EXIST")
            experiment.deleted, experiment.updated = deletes, event.updated_at
            for run in self.runs.values():
                if run.experiment_id == event.experiment_id:
                    run.deleted = deletes
            return ACCEPTED
        if experiment.deleted:
            return Verdict("rejected", "INVALID_PARAMETER_VALUE")
        if isinstance(event, ExperimentRenamed):
            if self._named(event.name) not in (None, event.experiment_id):
                return Verdict("rejected", "BAD_REQUEST")
            experiment.name, experiment.updated = event.name, event.updated_at
        elif isinstance(event, ExperimentTagSet):
            experiment.tags[event.key] = event.value
        elif isinstance(event, ExperimentTagDeleted):
            if event.key not in experiment.tags:
                return Verdict("rejected", "RESOURCE_DOES_NOT_EXIST")
            del experiment.tags[event.key]
        return ACCEPTED

    # Runs

    def _take_run(self, run_id: str, event: Event) -> Verdict:
        run = self.runs.get(run_id)
        if isinstance(event, RunCreated):
            return self._create_run(run_id, event) if run is None else Verdict("rejected", "RESOURCE_ALREADY_EXISTS")
        if run is None:
            return WAITING
        if isinstance(event, RunDeleted | RunRestored):
            run.deleted = isinstance(event, RunDeleted)
            return ACCEPTED
        if run.deleted:
            return Verdict("rejected", "INVALID_PARAMETER_VALUE")
        if isinstance(event, RunLogged):
            return self._log(run, event)
        if isinstance(event, RunTagDeleted):
            if event.key not in run.tags:
                return Verdict("rejected", "RESOURCE_DOES_NOT_EXIST")
            del run.tags[event.key]
        elif isinstance(event, RunUpdated):
            run.status = event.status or run.status
            run.end = run.end if event.end_time is None else event.end_time
            if event.name:
                run.name = run.tags[RUN_NAME] = event.name
        elif isinstance(event, RunModelLogged):
            run.tags[HISTORY] = _with_entry(run.tags.get(HISTORY, "[]"), event.entry)
        elif isinstance(event, RunInputsLogged):
            self._use(run, event)
        elif isinstance(event, RunOutputsLogged):
            for output in event.models:
                run.outputs.setdefault(output.model_id, output.step)
        return ACCEPTED

    def _use(self, run: Run, event: RunInputsLogged) -> None:
        experiment = self.experiments[run.experiment_id]
        for use in event.datasets:
            key = (use.dataset.name, use.dataset.digest)
            experiment.datasets.setdefault(key, use.dataset)
            if key not in run.uses:
                run.uses[key] = dict(use.tags)
                experiment.summaries.add((*key, use.tags.get(CONTEXT)))
        run.models += [model for model in dict.fromkeys(event.models) if model not in run.models]

    def inputs(self, run: Run) -> dict[str, Any]:
        """A run's ``inputs`` as the endpoints show them: what is empty is left out."""
        known = self.experiments[run.experiment_id].datasets
        uses = [
            _present(
                tags=[{"key": key, "value": value} for key, value in tags.items()],
                dataset={
                    **{name: getattr(known[key], name) for name in ("name", "digest", "source_type", "source")},
                    **_present(schema=known[key].schema, profile=known[key].profile),
                },
            )
            for key, tags in run.uses.items()
        ]
        return _present(dataset_inputs=uses, model_inputs=[{"model_id": model} for model in run.models])

    def outputs(self, run: Run) -> dict[str, Any]:
        """A run's ``outputs`` as the endpoints show them."""
        return _present(model_outputs=[{"model_id": model, "step": step} for model, step in run.outputs.items()])

    def _create_run(self, run_id: str, event: RunCreated) -> Verdict:
        number = event.experiment_id
        if event.ensured_by is not None:
            number = self.ensured.get(event.ensured_by)
            if number is None:
                return WAITING
        if number not in self.experiments:
            return Verdict("rejected", "RESOURCE_DOES_NOT_EXIST")
        if self.experiments[number].deleted:
            return Verdict("rejected", "INVALID_PARAMETER_VALUE")
        run = Run(number, event.name, event.user_id, event.start_time, tags=dict(event.tags))
        if event.name:
            run.tags[RUN_NAME] = event.name
        self.runs[run_id] = run
        return Verdict("accepted", result=None if event.ensured_by is None else number)

    def _log(self, run: Run, event: RunLogged) -> Verdict:
        if any(run.params.get(key, value) != value for key, value in event.params.items()):
            return Verdict("rejected", "INVALID_PARAMETER_VALUE")
        run.params.update(event.params)
        run.tags.update(event.tags)
        run.name = event.tags.get(RUN_NAME, run.name)
        for key, point in points_of(event):
            known = run.points.setdefault(key, [])
            if not any(_same(point, other) for other in known):
                known.append(point)
            if key not in run.latest or _order(point) > _order(run.latest[key]):
                run.latest[key] = point
        return ACCEPTED


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


def _with_entry(history: str, entry: str) -> str:
    """A model behind those of a list; no more than 8,000 characters, and never anything behind what was cut."""
    if not (history.startswith("[") and history.endswith("]")):
        return history
    whole = history[:-1] + (", " if history != "[]" else "") + entry + "]"
    if len(whole) <= 8000:
        return whole
    whole = whole[:8000]
    while whole.endswith("]"):
        whole = whole[:-1]
    return whole


def points_of(event: RunLogged) -> list[tuple[str, Point]]:
    """The metric points of a log call with their keys, in order."""
    columns = event.metrics
    if columns is None:
        return []

    def spread(column: Sequence[Any]) -> list[Any]:
        return list(column) * (len(columns) if len(column) == 1 else 1)

    keys = [
        key for key, count in zip(columns.keys, columns.counts or [1] * len(columns.keys), strict=True)
        for _ in range(count)
    ]  # fmt: skip
    rows = zip(keys, spread(columns.timestamps), spread(columns.steps), spread(columns.values), strict=True)
    return [(key, Point(timestamp, step, float(value))) for key, timestamp, step, value in rows]


def _same(one: Point, other: Point) -> bool:
    """Equal by MLflow's key of a point, in which NaN is NaN."""
    both_nan = math.isnan(one.value) and math.isnan(other.value)
    return one[:2] == other[:2] and (both_nan or one.value == other.value)


def _order(point: Point) -> tuple[int, int, float]:
    """Latest is the greatest by (step, timestamp, value), NaN compared as 0."""
    return point.step, point.timestamp, 0.0 if math.isnan(point.value) else point.value


def in_history_order(points: list[Point]) -> list[Point]:
    """As metrics/get-history answers: by (timestamp, step, value), NaN last."""

    def order(point: Point) -> tuple[int, int, bool, float]:
        nan = math.isnan(point.value)
        return point.timestamp, point.step, nan, 0.0 if nan else point.value

    return sorted(points, key=order)
