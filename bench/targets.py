"""What is wanted of each row (design section 13)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bench.rows import MILLION_ROWS, SHAPE_ROWS
from bench.shapes import ILIKE_SHAPES


@dataclass(frozen=True)
class Target:
    """Least ratios to the other servers measured in the same run, and the largest figure allowed, in the row's unit."""

    times_mlflow: float | None = None
    times_fasttrackml: float | None = None
    at_most: float | None = None


TARGETS: Final[dict[str, Target]] = {
    "log-10-one": Target(times_mlflow=60),
    "log-10-many": Target(times_mlflow=60),
    "log-500-one": Target(times_mlflow=60),
    "log-500-many": Target(times_mlflow=60),
    "log-10-single": Target(times_mlflow=80, times_fasttrackml=5),
    "log-1000-single": Target(times_mlflow=60, times_fasttrackml=12),
    "params-10": Target(times_fasttrackml=3),
    "params-100": Target(times_fasttrackml=3),
    "create": Target(times_fasttrackml=3),
    "search-page": Target(times_mlflow=30, times_fasttrackml=3),
    "search-page-busy": Target(times_mlflow=30, times_fasttrackml=3),
    **{row.name: Target(times_mlflow=10, times_fasttrackml=5) for row in SHAPE_ROWS},
    **{row.name: Target(at_most=1000 if row.shape in ILIKE_SHAPES else 100) for row in MILLION_ROWS},
    "history": Target(times_mlflow=20, times_fasttrackml=4),
    "history-columns": Target(times_mlflow=300),
    "history-arrow": Target(times_mlflow=300),
    "disk-10": Target(at_most=90),
    "disk-500": Target(at_most=32),
    "disk-1000": Target(at_most=24),
    "memory-idle": Target(at_most=150),
    "memory-load": Target(at_most=300),
    "start": Target(at_most=3),
}
