"""The projections of this release, besides ``decisions``, which decides what the others fold."""

from __future__ import annotations

from typing import Final

from runstream_projections.experiments import EXPERIMENTS
from runstream_projections.inputs import INPUTS
from runstream_projections.latest_metrics import LATEST_METRICS
from runstream_projections.metric_blocks import METRIC_BLOCKS
from runstream_projections.outputs import OUTPUTS
from runstream_projections.projection import Projection
from runstream_projections.runs import RUNS

PROJECTIONS: Final[dict[str, Projection]] = {
    projection.name: projection for projection in (EXPERIMENTS, RUNS, LATEST_METRICS, METRIC_BLOCKS, INPUTS, OUTPUTS)
}
