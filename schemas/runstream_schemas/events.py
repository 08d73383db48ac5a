"""What can happen: one struct per event type, version 1.

An event is a claim, stored as it was sent. Whether it takes effect is decided in log order (design §5). Times are
milliseconds since the Unix epoch, as in MLflow. The run of a run event is named by its stream, not by its payload.
"""

from __future__ import annotations

from typing import Annotated, Final
from uuid import UUID

import msgspec

from runstream_schemas.columns import Int64, MetricColumns

Tags = dict[str, str]


class Event(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Root of all event types; the type's name on the wire is the class's name."""


class ExperimentCreated(Event, frozen=True):
    """An experiment was asked for under a name that must be new; the decision gives it the next integer as its id."""

    name: str
    created_at: Int64
    artifact_location: str | None = None
    tags: Tags = {}


class ExperimentEnsured(Event, frozen=True):
    """A client that knows only a name wants that experiment to exist; the decision names its id, old or new."""

    name: str
    created_at: Int64


class ExperimentRenamed(Event, frozen=True):
    """An active experiment was given another name."""

    experiment_id: Int64
    name: str
    updated_at: Int64


class ExperimentDeleted(Event, frozen=True):
    """An experiment, and with it each of its runs, was marked deleted."""

    experiment_id: Int64
    updated_at: Int64


class ExperimentRestored(Event, frozen=True):
    """A deleted experiment, and with it each of its runs, was made active again."""

    experiment_id: Int64
    updated_at: Int64


class ExperimentTagSet(Event, frozen=True):
    """A tag of an experiment got a value."""

    experiment_id: Int64
    key: str
    value: str


class ExperimentTagDeleted(Event, frozen=True):
    """A tag of an experiment was removed."""

    experiment_id: Int64
    key: str


class RunCreated(Event, frozen=True):
    """A run began, in an experiment given by its id or by the event that ensures it (exactly one of the two)."""

    name: str
    start_time: Int64
    user_id: str = ""
    experiment_id: Int64 | None = None
    ensured_by: UUID | None = None
    tags: Tags = {}


class RunUpdated(Event, frozen=True):
    """Status (MLflow's names), end time or name of a run changed; what is None stays as it is."""

    status: str | None = None
    end_time: Int64 | None = None
    name: str | None = None


class RunDeleted(Event, frozen=True):
    """A run was marked deleted."""


class RunRestored(Event, frozen=True):
    """A deleted run was made active again."""


class RunLogged(Event, frozen=True):
    """One log call: metrics, params and tags, together or not at all."""

    metrics: MetricColumns | None = None
    params: dict[str, str] = {}
    tags: Tags = {}


class RunTagDeleted(Event, frozen=True):
    """A tag of a run was removed."""

    key: str


class Dataset(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A dataset as a run names it; within its experiment it is known by name and digest."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None


class DatasetInput(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A dataset that a run uses, and the tags of that use, such as the context ``training``."""

    dataset: Dataset
    tags: Tags = {}


class ModelOutput(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A model that a run made, at one of its steps."""

    model_id: str
    step: Int64 = 0


class RunInputsLogged(Event, frozen=True):
    """A run uses datasets and models, in the order given; what it uses already stays as it is, with its tags."""

    datasets: list[DatasetInput] = []
    models: list[str] = []


class RunOutputsLogged(Event, frozen=True):
    """A run made models; one that is known as its output already stays at its step."""

    models: list[ModelOutput] = []


class RunModelLogged(Event, frozen=True):
    """A model was logged the old way: ``entry``, a JSON object, is appended to the history in a tag of the run."""

    entry: Annotated[str, msgspec.Meta(pattern=r"^\{.*\}$")]


EXPERIMENT_EVENTS: Final = (
    ExperimentCreated,
    ExperimentEnsured,
    ExperimentRenamed,
    ExperimentDeleted,
    ExperimentRestored,
    ExperimentTagSet,
    ExperimentTagDeleted,
)
RUN_EVENTS: Final = (
    RunCreated,
    RunUpdated,
    RunDeleted,
    RunRestored,
    RunLogged,
    RunTagDeleted,
    RunInputsLogged,
    RunOutputsLogged,
    RunModelLogged,
)

#: Every known event type by its name on the wire.
EVENT_TYPES: Final[dict[str, type[Event]]] = {kind.__name__: kind for kind in (*EXPERIMENT_EVENTS, *RUN_EVENTS)}

#: The version that this release writes. Older ones are upcast while reading (``upcast.py``).
CURRENT_VERSION: Final = 1

#: MLflow's run statuses.
RUN_STATUSES: Final = ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")
