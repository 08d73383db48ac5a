"""Which versions of the projections an answer is read from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: The endings of the names of the tables that are read, by projection.
Suffixes = Mapping[str, str]

#: What an answer about runs, or about experiments, is read from.
RUN_PROJECTIONS: Final = ("runs", "experiments", "latest_metrics", "inputs", "outputs")
RUN_INFO_PROJECTIONS: Final = ("runs", "experiments")
EXPERIMENT_PROJECTIONS: Final = ("experiments",)
