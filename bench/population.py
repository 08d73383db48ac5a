"""The runs that are searched: the same numbers for every server, from one seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bench.request import FIRST_MS

#: Of the large experiment and of the small one: other seeds give other run ids.
SEED: Final = 20
SMALL_SEED: Final = 21
#: ``m_anti`` is 1 - ``m1``: what is high in one is low in the other.
METRICS: Final = (*(f"m{i}" for i in range(9)), "m_anti")
PARAMS: Final = tuple(f"p{i}" for i in range(10))
TAGS: Final = ("t0", "t1", "t2")
STEP: Final = 10
LASTED_MS: Final = 60_000
USER: Final = "bench"

#: One run in so many has :data:`RARE` as its last param; the others have a digit, as in all params.
RARE_EVERY: Final = 50_000
RARE: Final = "9X"


@dataclass(frozen=True)
class Population:
    """Finished runs ``run-0``, ``run-1``, ..., each started a millisecond after the one before.

    A row for each run, a column for each metric (uniform in [0, 1)), param (a digit) and tag (``tag0`` to ``tag99``).
    """

    metrics: tuple[str, ...]
    params: tuple[str, ...]
    tags: tuple[str, ...]
    ids: npt.NDArray[np.uint64]
    values: npt.NDArray[np.float64]
    digits: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]

    @property
    def runs(self) -> int:
        """How many runs there are."""
        return len(self.values)

    def metric(self, key: str) -> npt.NDArray[np.float64]:
        """The values of a metric, by run."""
        return self.values[:, self.metrics.index(key)]

    def param(self, key: str) -> npt.NDArray[np.uint8]:
        """The digits of a param, by run."""
        return self.digits[:, self.params.index(key)]

    def tag(self, key: str) -> npt.NDArray[np.uint8]:
        """The numbers of a tag, by run."""
        return self.labels[:, self.tags.index(key)]

    def rare(self) -> npt.NDArray[np.bool_]:
        """Which runs have :data:`RARE` as their last param."""
        found: npt.NDArray[np.bool_] = np.arange(self.runs) % RARE_EVERY == RARE_EVERY - 1
        return found

    def run(self, number: int) -> dict[str, Any]:
        """A run as an answer has it: ``info`` in part, and data as dictionaries."""
        high, low = self.ids[number].tolist()
        digits = [str(digit) for digit in self.digits[number].tolist()]
        if number % RARE_EVERY == RARE_EVERY - 1:
            digits[-1] = RARE
        return {
            "run_id": f"{high:016x}{low:016x}",
            "run_name": f"run-{number}",
            "user_id": USER,
            "status": "FINISHED",
            "start_time": FIRST_MS + number,
            "end_time": FIRST_MS + number + LASTED_MS,
            "metrics": dict(zip(self.metrics, self.values[number].tolist(), strict=True)),
            "params": dict(zip(self.params, digits, strict=True)),
            "tags": {key: f"tag{label}" for key, label in zip(self.tags, self.labels[number].tolist(), strict=True)},
        }


def small_runs(count: int) -> Population:
    """Runs with two metrics, two params and three tags."""
    return populate(count, ("m0", "m1"), ("p0", "p1"), TAGS, SMALL_SEED)


def populate(
    runs: int,
    metrics: tuple[str, ...] = METRICS,
    params: tuple[str, ...] = PARAMS,
    tags: tuple[str, ...] = TAGS,
    seed: int = SEED,
) -> Population:
    """``runs`` runs with these keys; equal arguments give equal runs."""
    random = np.random.default_rng(seed)
    ids = random.integers(0, 2**64, (runs, 2), dtype=np.uint64)
    values = random.random((runs, len(metrics)))
    if "m_anti" in metrics:
        values[:, metrics.index("m_anti")] = 1 - values[:, metrics.index("m1")]
    digits = random.integers(0, 10, (runs, len(params)), dtype=np.uint8)
    labels = random.integers(0, 100, (runs, len(tags)), dtype=np.uint8)
    return Population(metrics, params, tags, ids, values, digits, labels)
