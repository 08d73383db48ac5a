"""Golden examples: what a released version has written is read for ever, and written the same by that version."""

from __future__ import annotations

import math
from importlib import resources
from uuid import UUID

import pytest

from runstream_schemas.codec import decode, decode_payload, encode, encode_payload
from runstream_schemas.columns import MetricColumns
from runstream_schemas.events import (
    CURRENT_VERSION,
    EVENT_TYPES,
    Dataset,
    DatasetInput,
    Event,
    ExperimentCreated,
    ExperimentDeleted,
    ExperimentEnsured,
    ExperimentRenamed,
    ExperimentRestored,
    ExperimentTagDeleted,
    ExperimentTagSet,
    ModelOutput,
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

DIRECTORY = resources.files("runstream_schemas") / "examples"
FILES = {entry.name: entry.read_bytes() for entry in DIRECTORY.iterdir() if entry.name.endswith(".json")}

#: What each file holds, in the terms of today; `<type>.v<version>[.<case>].json`.
MEANINGS: dict[str, Event] = {
    "ExperimentCreated.v1.json": ExperimentCreated(
        name="Übung \U0001f680", created_at=1767225600000, artifact_location="s3://bucket/x", tags={"team": "a"}
    ),
    "ExperimentCreated.v1.bare.json": ExperimentCreated(name="Default", created_at=1767225600000),
    "ExperimentEnsured.v1.json": ExperimentEnsured(name="offline", created_at=1767225600000),
    "ExperimentRenamed.v1.json": ExperimentRenamed(experiment_id=1, name="other", updated_at=1767225600001),
    "ExperimentDeleted.v1.json": ExperimentDeleted(experiment_id=1, updated_at=1767225600002),
    "ExperimentRestored.v1.json": ExperimentRestored(experiment_id=1, updated_at=1767225600003),
    "ExperimentTagSet.v1.json": ExperimentTagSet(experiment_id=1, key="team", value=""),
    "ExperimentTagDeleted.v1.json": ExperimentTagDeleted(experiment_id=1, key="team"),
    "RunCreated.v1.json": RunCreated(
        name="bold-crow-42",
        start_time=1767225600000,
        user_id="ada",
        experiment_id=0,
        tags={"mlflow.source.type": "LOCAL"},
    ),
    "RunCreated.v1.ensured.json": RunCreated(
        name="offline",
        start_time=1767225600000,
        ensured_by=UUID("019b76da-a800-7000-8000-000000000001"),
    ),
    "RunUpdated.v1.json": RunUpdated(status="FINISHED", end_time=1767225600004, name="better-name"),
    "RunUpdated.v1.bare.json": RunUpdated(),
    "RunDeleted.v1.json": RunDeleted(),
    "RunRestored.v1.json": RunRestored(),
    "RunTagDeleted.v1.json": RunTagDeleted(key="stage"),
    "RunInputsLogged.v1.json": RunInputsLogged(
        datasets=[
            DatasetInput(
                dataset=Dataset(
                    name="wine \U0001f377",
                    digest="d1",
                    source_type="local",
                    source='{"uri": "a.csv"}',
                    schema='{"mlflow_colspec": []}',
                    profile='{"num_rows": 3}',
                ),
                tags={"mlflow.data.context": "training"},
            ),
            DatasetInput(dataset=Dataset(name="other", digest="", source_type="", source="")),
        ],
        models=["m-1"],
    ),
    "RunInputsLogged.v1.bare.json": RunInputsLogged(),
    "RunOutputsLogged.v1.json": RunOutputsLogged(
        models=[ModelOutput(model_id="m-1", step=-(1 << 63)), ModelOutput(model_id="m-2")]
    ),
    "RunModelLogged.v1.json": RunModelLogged(entry='{"run_id": "0123456789abcdef0123456789abcdef", "flavors": {}}'),
    "RunLogged.v1.json": RunLogged(
        metrics=MetricColumns(keys=["loss", "acc"], steps=[7], timestamps=[1767225600005], values=[0.25, 1.0]),
        params={"lr": "0.01"},
        tags={"stage": "train"},
    ),
    "RunLogged.v1.series.json": RunLogged(
        metrics=MetricColumns(
            keys=["loss", "loss"],
            model_ids=["m-1", None],
            dataset_names=[None, "wine"],
            dataset_digests=[None, "d1"],
            counts=[3, 2],
            steps=[-(1 << 63), 0, 1, 2, (1 << 63) - 1],
            timestamps=[0, 1, 2, 3, (1 << 63) - 1],
            values=["NaN", "Infinity", "-Infinity", -0.0, 5e-324],
        ),
    ),
}


def test_every_event_type_has_an_example_of_every_version() -> None:
    expected = {f"{name}.v{version}.json" for name in EVENT_TYPES for version in range(1, CURRENT_VERSION + 1)}
    assert expected <= FILES.keys()
    assert FILES.keys() == MEANINGS.keys()


@pytest.mark.parametrize("name", sorted(MEANINGS))
def test_an_example_is_read_as_what_it_meant(name: str) -> None:
    envelope = decode(FILES[name].rstrip(b"\n"))
    kind, version = name.split(".")[:2]
    assert (envelope.type, f"v{envelope.version}") == (kind, version)
    event, meant = decode_payload(envelope), MEANINGS[name]
    assert event == meant
    if isinstance(event, RunLogged) and event.metrics is not None and isinstance(meant, RunLogged):
        assert meant.metrics is not None
        assert [repr(v) for v in event.metrics.values] == [repr(v) for v in meant.metrics.values], "the sign of zero"


@pytest.mark.parametrize("name", sorted(name for name in MEANINGS if f".v{CURRENT_VERSION}." in name))
def test_the_current_version_is_written_as_its_example(name: str) -> None:
    """A change of the wire format is a new version, with an example of its own."""
    envelope = decode(FILES[name].rstrip(b"\n"))
    assert encode(envelope) == FILES[name].rstrip(b"\n")
    assert encode_payload(MEANINGS[name]) == bytes(envelope.payload)


def test_the_names_of_values_mean_those_values() -> None:
    read = [float(value) for value in ("NaN", "Infinity", "-Infinity")]
    assert math.isnan(read[0])
    assert read[1:] == [math.inf, -math.inf]
