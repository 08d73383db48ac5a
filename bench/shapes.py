"""What is searched for, and the right answer, computed from the numbers and not by a database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bench.population import RARE, Population

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Shape:
    """A search of runs. ``where`` says which match; ``order`` is a metric and its direction, else newest first.

    The runs that are written to meanwhile (:mod:`bench.searched`) match when there is no filter and come first when
    there is no order, and only then: their values are not within the filters and never at the top.
    """

    name: str
    title: str
    size: int
    filter: str = ""
    order: tuple[str, str] | None = None
    where: Callable[[Population], Mask] | None = None

    @property
    def live(self) -> bool:
        """Whether the runs that are written to come first in the answer."""
        return self.where is None and self.order is None

    def body(self, experiment_id: str) -> dict[str, Any]:
        """The body of runs/search."""
        body: dict[str, Any] = {"experiment_ids": [experiment_id], "max_results": self.size}
        if self.filter:
            body["filter"] = self.filter
        if self.order:
            key, direction = self.order
            body["order_by"] = [f"metrics.{key} {direction}"]
        return body

    def matching(self, population: Population) -> npt.NDArray[np.int64]:
        """The numbers of all runs of the population that match, in the order of the answer."""
        found = np.arange(population.runs) if self.where is None else np.flatnonzero(self.where(population))
        if self.order is None:
            return found[::-1]
        key, direction = self.order
        by_value = np.argsort(population.metric(key)[found], kind="stable")
        return found[by_value[::-1] if direction == "DESC" else by_value]


def _high_m1_and_p2(population: Population) -> Mask:
    found: Mask = (population.metric("m1") > 0.9) & (population.param("p2") == 5)
    return found


def _three_clauses(population: Population) -> Mask:
    m1, p2, t1 = population.metric("m1"), population.param("p2"), population.tag("t1")
    found: Mask = (m1 > 0.5) & (p2 == 5) & (t1 == 7)
    return found


def _none(population: Population) -> Mask:
    return np.zeros(population.runs, dtype=np.bool_)


def _name_has_99999(population: Population) -> Mask:
    return np.array(["99999" in str(number) for number in range(population.runs)])


SHAPES: Final = (
    Shape("page-100", "page of 100", 100),
    Shape("page-1000", "page of 1,000", 1000),
    Shape(
        "two-clauses", "`metrics.m1 > 0.9 and params.p2 = '5'`", 100, "metrics.m1 > 0.9 and params.p2 = '5'",
        where=_high_m1_and_p2,
    ),
    Shape("top-10", "order by metric, top 10", 10, order=("m3", "DESC")),
    Shape(
        "three-clauses", "three clauses and order by metric", 100,
        "metrics.m1 > 0.5 and params.p2 = '5' and tags.t1 = 'tag7'", ("m4", "ASC"), _three_clauses,
    ),
)  # fmt: skip

#: What a plan by statistics alone goes wrong in.
HARD_SHAPES: Final = (
    Shape(
        "anti", "anti-correlated clauses, `metrics.m1 > 0.5 and metrics.m_anti > 0.5`", 100,
        "metrics.m1 > 0.5 and metrics.m_anti > 0.5", where=_none,
    ),
    Shape(
        "impossible", "`metrics.m1 > 0.9 and metrics.m1 < 0.1`", 100, "metrics.m1 > 0.9 and metrics.m1 < 0.1",
        where=_none,
    ),
)  # fmt: skip
ILIKE_SHAPES: Final = (
    Shape(
        "ilike-param", "`params.p9 ILIKE '%x%'`, 1 run in 50,000", 100, f"params.p9 ILIKE '%{RARE[-1].lower()}%'",
        where=Population.rare,
    ),
    Shape(
        "ilike-name", "`run_name ILIKE '%99999%'`", 100, "attributes.run_name ILIKE '%99999%'",
        where=_name_has_99999,
    ),
)  # fmt: skip
