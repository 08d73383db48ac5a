"""A second, slow implementation of runs/search on values in memory, by MLflow's rules, and the runs it is tried on."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from runstream_projections.search.query import RunSearch
from runstream_projections.search.syntax import And, Comparison, Field, Not, Or, Order, Term
from runstream_schemas.columns import columns_from_points
from runstream_schemas.events import (
    ExperimentCreated,
    ExperimentDeleted,
    RunCreated,
    RunDeleted,
    RunLogged,
    RunUpdated,
)
from runstream_schemas.ids import EXPERIMENTS, run_stream
from tests.sent import START_MS, Sent, event_id

METRICS: Final = ("loss", "val/acc")
PARAMS: Final = ("lr", "note")
TAGS: Final = ("stage", "owner name")
NUMBERS: Final = (0.0, -0.0, 0.5, 1.0, -2.0, 1e300, math.inf, -math.inf, math.nan)
#: Longer than what an index holds, equal in all that it holds; wildcards; none.
TEXTS: Final = (
    *("", "a", "A", "ab", "a%b", "a_b", "a\\b", "é", "x" * 127, "x" * 128, "x" * 129, "x" * 128 + "y", "1", "it's"),
)
PATTERNS: Final = (*TEXTS[:-1], "a%", "%b", "a_b", "%", "_", "", "x%y", "%é", "a\\%b", "\\_%")
IDS: Final = tuple(f"{number:032x}" for number in random.Random(5).sample(range(1 << 32), 60))
STATUSES: Final = ("RUNNING", "FINISHED", "FAILED")
LOCATION: Final = "s3://bucket/x?a=b"


@dataclass
class Run:
    """A run as it is found."""

    run_id: str
    experiment_id: int
    attributes: dict[str, str | int | None]
    deleted: bool
    metric: dict[str, float] = field(default_factory=dict)
    parameter: dict[str, str] = field(default_factory=dict)
    tag: dict[str, str] = field(default_factory=dict)

    def value(self, field: Field) -> float | str | None:
        """What it has in a field, None where it has nothing."""
        if field == Field("attribute", "run_name"):
            return self.tag.get("mlflow.runName")
        if field.entity == "attribute":
            return self.attributes[field.key]
        values: dict[str, float | str] = getattr(self, field.entity)
        return values.get(field.key)


def history() -> tuple[list[Sent], list[Run]]:
    """Events, and the runs that they make: in experiments 1, 2 and 3, of which the third is deleted."""
    draw = random.Random(7)
    events = [
        (EXPERIMENTS, ExperimentCreated(name="default", created_at=START_MS)),
        (EXPERIMENTS, ExperimentCreated(name="one", created_at=START_MS)),
        (EXPERIMENTS, ExperimentCreated(name="two", created_at=START_MS, artifact_location=LOCATION)),
        (EXPERIMENTS, ExperimentCreated(name="three", created_at=START_MS)),
    ]
    runs = []
    for number, run_id in enumerate(IDS):
        run = _run(draw, number, run_id)
        runs.append(run)
        stream, attributes = run_stream(run_id), run.attributes
        name, start_time = str(attributes["run_name"]), int(attributes["start_time"] or 0)
        keys = list(run.metric)
        ones = [1] * len(keys)
        metrics = columns_from_points(keys, ones, [*ones], list(run.metric.values())) if keys else None
        events += [
            (stream, RunCreated(name=name, start_time=start_time, user_id="ada", experiment_id=run.experiment_id)),
            (stream, RunLogged(metrics=metrics, params=run.parameter, tags=dict(run.tag))),
            (stream, RunUpdated(status=str(attributes["status"]), end_time=attributes["end_time"])),  # type: ignore[arg-type]
            *([(stream, RunDeleted())] if run.deleted else []),
        ]
        run.tag["mlflow.runName"] = name
    events.append((EXPERIMENTS, ExperimentDeleted(experiment_id=3, updated_at=START_MS)))
    for run in runs:
        run.deleted = run.deleted or run.experiment_id == 3
    return [Sent(event_id(at), stream, event) for at, (stream, event) in enumerate(events)], runs


def _run(draw: random.Random, number: int, run_id: str) -> Run:
    def some(keys: Sequence[str], values: Sequence[float] | Sequence[str]) -> dict[str, float | str]:
        return {key: draw.choice(values) for key in keys if draw.random() < 0.7}

    experiment = draw.choice((1, 1, 1, 2, 3))
    uri = (
        f"s3://bucket/x/{run_id}/artifacts?a=b"
        if experiment == 2
        else f"mlflow-artifacts:/{experiment}/{run_id}/artifacts"
    )
    attributes: dict[str, str | int | None] = {
        "run_id": run_id,
        "run_name": draw.choice(("a", "B", "b")),
        "user_id": "ada",
        "status": draw.choice(STATUSES),
        "start_time": START_MS + number // 4,
        "end_time": draw.choice((None, START_MS, START_MS + 7)),
        "artifact_uri": uri,
    }
    found = Run(run_id, experiment, attributes, deleted=draw.random() < 0.15)
    found.metric = some(METRICS, NUMBERS)  # type: ignore[assignment]
    found.parameter = some(PARAMS, TEXTS)  # type: ignore[assignment]
    found.tag = some(TAGS, TEXTS)  # type: ignore[assignment]
    return found


def find(search: RunSearch, runs: Sequence[Run]) -> list[str]:
    """The ids of all runs that are found, in order."""
    found = [
        run
        for run in runs
        if run.experiment_id in search.experiments
        and search.deleted in (None, run.deleted)
        and (search.where is None or matches(search.where, run))
    ]
    orders = [*search.orders]
    for more in (Order(Field("attribute", "start_time"), False), Order(Field("attribute", "run_id"), True)):
        if more.field not in [order.field for order in orders]:
            orders.append(more)
    for order in reversed(orders):
        found = _sorted(found, order)
    return [run.run_id for run in found]


def _sorted(runs: list[Run], order: Order) -> list[Run]:
    def value(run: Run) -> float | str | None:
        if order.field == Field("attribute", "run_name"):
            return run.attributes["run_name"]  # unlike a filter, an order takes the run's own
        return run.value(order.field)

    there = [run for run in runs if (v := value(run)) is not None and v == v]  # noqa: PLR0124 -- not NaN
    nan = [run for run in runs if (v := value(run)) is not None and v != v]  # noqa: PLR0124
    missing = [run for run in runs if value(run) is None]
    there.sort(key=lambda run: _comparable(value(run)), reverse=not order.ascending)  # stable in both directions
    return [*there, *nan, *missing]


def _comparable(value: float | str | None) -> float | bytes:
    return value.encode() if isinstance(value, str) else value or 0.0


def matches(term: Term, run: Run) -> bool:
    """Tell whether a run is one that a filter asks for."""
    match term:
        case And(terms):
            return all(matches(inner, run) for inner in terms)
        case Or(terms):
            return any(matches(inner, run) for inner in terms)
        case Not(inner):
            return not matches(inner, run)
        case Comparison(field, operator, value):
            return _compared(run.value(field), operator, value)


def _compared(left: float | str | None, operator: str, right: object) -> bool:
    if operator in ("IS NULL", "IS NOT NULL"):
        return (left is None) == (operator == "IS NULL")
    if left is None:
        return False
    match operator:
        case "=":
            return left == right
        case "!=":
            return left != right
        case ">":
            return left > right  # type: ignore[operator]
        case ">=":
            return left >= right  # type: ignore[operator]
        case "<":
            return left < right  # type: ignore[operator]
        case "<=":
            return left <= right  # type: ignore[operator]
        case "IN" | "NOT IN":
            return (left in right) == (operator == "IN")  # type: ignore[operator]
        case _:
            return _like(str(left), str(right), re.IGNORECASE if operator == "ILIKE" else 0)


def _like(text: str, pattern: str, flags: int) -> bool:
    """LIKE as PostgreSQL has it: a backslash takes the next character as it is."""
    parts, at = "", 0
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            at += 1
            parts += re.escape(pattern[at])
        else:
            parts += {"%": ".*", "_": "."}.get(character, re.escape(character))
        at += 1
    return re.fullmatch(parts, text, re.DOTALL | flags) is not None
