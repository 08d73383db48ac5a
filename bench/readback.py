"""What is stored, compared with what was sent and acknowledged.

The rule: of the requests sent, at least as many are stored whole as were acknowledged; nothing is stored that was not
sent; every stored value and timestamp is bit-exact. When every request was acknowledged (what a server without errors
reaches, because the load waits for the last answer) this says: each run holds exactly what was sent to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.api import Api, Points, in_parallel
from bench.load import Load
from bench.request import (
    FIRST_MS,
    FIRST_NUMBER,
    equal_params,
    metric_key,
    metric_literal,
    nonce,
    param_key,
    param_value,
)


@dataclass(frozen=True)
class Sent:
    """The requests of several loads, numbered without a gap from FIRST_NUMBER, and the run that each went to."""

    acknowledged: int
    owner: npt.NDArray[np.int32]

    @property
    def count(self) -> int:
        """How many requests were sent."""
        return len(self.owner)


def sent_by(loads: list[Load], runs: int) -> Sent:
    """The requests of ``loads``, each of which went through the runs in turn from the first one on."""
    owner = [np.arange(load.sent, dtype=np.int32) % runs for load in loads]
    return Sent(sum(load.acknowledged for load in loads), np.concatenate(owner))


def check_metrics(
    api: Api, run_ids: list[str], size: int, sent: Sent, *, bulk: bool, key_of: Callable[[int], str] = metric_key
) -> list[str]:
    """Sentences about what is wrong with the stored metrics; empty when all is right."""
    digits = [nonce(FIRST_NUMBER + i) for i in range(sent.count)]
    parts = np.zeros(sent.count, dtype=np.int32)
    problems: list[str] = []

    def read(index: int) -> list[Points]:
        key = key_of(index)
        if bulk and len(run_ids) > 1:
            found = api.histories(run_ids, key)
            return [found[run_id] for run_id in run_ids]
        return [api.history(run_id, key) for run_id in run_ids]

    batch = 50
    for first in range(0, size, batch):
        keys = range(first, min(first + batch, size))
        for index, of_runs in zip(keys, in_parallel(read, keys), strict=True):
            for run, stored in enumerate(of_runs):
                places, problem = _match(index, run, stored, sent, digits)
                parts[places] += 1
                if problem:
                    problems.append(f"{key_of(index)} of run {run}: {problem}")
    return _whole(parts, size, sent) + problems[:5]


def _match(
    index: int, run: int, stored: Points, sent: Sent, digits: list[str]
) -> tuple[npt.NDArray[np.int64], str | None]:
    """The places (request numbers from 0) of a key's points in a run, and what is wrong with them."""
    places = np.asarray(stored.steps, dtype=np.int64) - FIRST_NUMBER
    if len(np.unique(places)) != len(places):
        return places[:0], "a point is stored twice"
    if len(places) and (places.min() < 0 or places.max() >= sent.count or (sent.owner[places] != run).any()):
        return places[:0], "a point is stored that was not sent"
    literal = metric_literal(index)
    if stored.values != [float(literal.text(digits[place])) for place in places.tolist()]:
        return places, "a value is not the one sent"
    if not np.array_equal(np.asarray(stored.timestamps, dtype=np.int64), FIRST_MS + FIRST_NUMBER + places):
        return places, "a timestamp is not the one sent"
    return places, None


def check_new_params(api: Api, run_ids: list[str], size: int, sent: Sent) -> list[str]:
    """As :func:`check_metrics`, for params with keys of their own in each request."""
    parts = np.zeros(sent.count, dtype=np.int32)
    problems: list[str] = []
    for run, params in enumerate(in_parallel(api.params, run_ids)):
        for place in np.flatnonzero(sent.owner == run).tolist():
            number = FIRST_NUMBER + place
            digits = nonce(number)
            for index in range(size):
                value = params.pop(param_key(number, index), None)
                if value is not None:
                    parts[place] += 1
                    if value != param_value(digits, index):
                        problems.append(f"{param_key(number, index)} of run {run} is {value!r}")
        if params:
            problems.append(f"run {run} has {len(params)} params that were not sent, as {next(iter(params))!r}")
    return _whole(parts, size, sent) + problems[:5]


def check_equal_params(api: Api, run_ids: list[str], size: int) -> list[str]:
    """Whether every run has exactly the params that were sent again and again."""
    expected = equal_params(size)
    found = in_parallel(api.params, run_ids)
    return [f"run {run} has other params than were sent" for run, params in enumerate(found) if params != expected]


def check_runs(api: Api, experiment_id: str, loads: list[tuple[Load, Path]]) -> list[str]:
    """Whether the search finds every acknowledged run, and no more runs than were sent."""
    acknowledged: set[str] = set()
    for _, folder in loads:
        acknowledged.update((folder / "ids.txt").read_text().split())
    found = api.run_ids(experiment_id)
    sent = sum(load.sent for load, _ in loads)
    problems = []
    if missing := len(acknowledged - set(found)):
        problems.append(f"LOST {missing} of {len(acknowledged)} acknowledged runs")
    if len(acknowledged) != sum(load.acknowledged for load, _ in loads):
        problems.append("a run id was given twice")
    if len(set(found)) != len(found) or len(found) > sent:
        problems.append(f"{len(found)} runs found, {sent} sent")
    return problems


def _whole(parts: npt.NDArray[np.int32], size: int, sent: Sent) -> list[str]:
    whole = int((parts == size).sum())
    problems = []
    if whole < sent.acknowledged:
        problems.append(f"LOST {sent.acknowledged - whole} of {sent.acknowledged} acknowledged requests")
    if partly := int(((parts > 0) & (parts < size)).sum()):
        problems.append(f"{partly} requests are stored in part")
    return problems
