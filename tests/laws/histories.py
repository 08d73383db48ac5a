"""Random histories: what clients may send, in any order, right and wrong.

Few runs, experiments, keys and values, so that events meet: names that exist already, params that change, tags that
are gone, runs that are logged to before they are created, experiments that nobody created.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from hypothesis import strategies as st

from runstream_schemas.columns import MetricColumns, columns_from_points
from runstream_schemas.events import (
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
from runstream_schemas.ids import EXPERIMENTS, run_stream
from tests.sent import START_MS, YEAR_MS, Sent, event_id

RUNS: Final = tuple(f"{number:032x}" for number in range(1, 5))
NAMES: Final = ("Default", "résumé", "\U0001f680" * 3, "a/b")
#: Ids of events that ensure an experiment: some are sent, some only named.
ENSURING: Final = tuple(event_id(900_000 + number) for number in range(4))
KEYS: Final = ("loss", "acc/val", "\U0001f40d key", "ключ")
MODEL_HISTORY: Final = "mlflow.log-model.history"
TAG_KEYS: Final = ("stage", "mlflow.runName", "владелец", MODEL_HISTORY)
VALUES: Final = ("", "1", "0.1", "ß" * 5, "[]", "[7]")
MODELS: Final = ("m-1", "модель", "")
#: Models as a history lists them: a few of them fill it, and it ends with a bracket or in the middle.
ENTRIES: Final = ("{}", '{"a": "ß"}', '{"a": [' + "[1], " * 800 + "[1]]}", '{"b": [' + "[1], " * 797 + "[1]]}")

INT64_MIN: Final = -(1 << 63)
INT64_MAX: Final = (1 << 63) - 1

experiment_ids = st.sampled_from([0, 0, 1, 2, 7])
milliseconds = st.integers(0, 5) | st.just(INT64_MAX)
steps = st.integers(-1, 3) | st.sampled_from([INT64_MIN, INT64_MAX])
#: NaN has many bit patterns, but only one name on the wire.
doubles = st.sampled_from(
    [0.0, -0.0, 1.0, -1.5, 5e-324, sys.float_info.max, math.nan, math.inf, -math.inf]
) | st.floats(width=64, allow_nan=False)
series = st.tuples(
    st.sampled_from(KEYS),
    st.sampled_from([None, None, "m-1"]),
    st.sampled_from([(None, None), (None, None), ("data", "d1")]),
)


few = (st.integers(0, 1), st.integers(0, 1), st.sampled_from([0.0, -0.0, math.nan, -1.0]))

#: What is logged of a point: (key, model id, (dataset name, digest)), step, timestamp, value.
Logged = tuple[tuple[str, str | None, tuple[str | None, str | None]], int, int, float]


def of_points(logged: Sequence[Logged]) -> MetricColumns:
    """The points as the gateway makes columns of them: shortened where they can be."""

    def column(values: list[str | None]) -> list[str | None] | None:
        return values if any(values) else None

    return columns_from_points(
        [key for (key, _, _), *_ in logged],
        [step for _, step, _, _ in logged],
        [timestamp for _, _, timestamp, _ in logged],
        [value for *_, value in logged],
        model_ids=column([model for (_, model, _), *_ in logged]),
        dataset_names=column([name for (_, _, (name, _)), *_ in logged]),
        dataset_digests=column([digest for (_, _, (_, digest)), *_ in logged]),
    )


@st.composite
def columns(draw: st.DrawFn) -> MetricColumns:
    """Metric columns of every form: one point a key, many points of one, several series of a key, columns of one."""
    logged = draw(st.lists(st.tuples(series, steps, milliseconds, doubles), min_size=1, max_size=5))
    if draw(st.booleans()):
        logged = [(logged[0][0], *rest) for _, *rest in logged]
    return of_points(logged)


tags = st.dictionaries(st.sampled_from(TAG_KEYS), st.sampled_from(VALUES), max_size=2)
params = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES[:2]), max_size=2)
logged = st.builds(RunLogged, metrics=st.none() | columns(), params=params, tags=tags)
created = st.builds(
    RunCreated,
    name=st.sampled_from(["bold-crow-1", "", "б"]),
    start_time=milliseconds,
    user_id=st.sampled_from(["", "ada"]),
    experiment_id=experiment_ids,
    tags=tags,
) | st.builds(
    RunCreated, name=st.just("offline"), start_time=milliseconds, ensured_by=st.sampled_from(ENSURING), tags=tags
)
datasets = st.builds(
    Dataset,
    name=st.sampled_from(["wine", "a/b"]),
    digest=st.sampled_from(["d1", "d2"]),
    source_type=st.sampled_from(["", "local"]),
    source=st.sampled_from(["", '{"uri": "\\n\U0001f377"}']),
    schema=st.sampled_from([None, "", '{"mlflow_colspec": []}']),
    profile=st.sampled_from([None, "", '{"num_rows": 3}']),
)
uses = st.builds(
    DatasetInput,
    dataset=datasets,
    tags=st.dictionaries(
        st.sampled_from(["mlflow.data.context", 'say "x"']), st.sampled_from(["training", "eval", ""]), max_size=2
    ),
)
used = st.builds(
    RunInputsLogged, datasets=st.lists(uses, max_size=3), models=st.lists(st.sampled_from(MODELS), max_size=3)
)
made = st.builds(
    RunOutputsLogged,
    models=st.lists(st.builds(ModelOutput, model_id=st.sampled_from(MODELS), step=steps), max_size=3),
)
run_events: st.SearchStrategy[Event] = st.one_of(
    used,
    used,
    made,
    st.builds(RunModelLogged, entry=st.sampled_from(ENTRIES)),
    logged,
    logged,
    logged,
    created,
    created,
    st.builds(
        RunUpdated,
        status=st.sampled_from([None, "FINISHED", "RUNNING", "FAILED"]),
        end_time=st.none() | milliseconds,
        name=st.sampled_from([None, "", "renamed"]),
    ),
    st.just(RunDeleted()),
    st.just(RunRestored()),
    st.builds(RunTagDeleted, key=st.sampled_from(TAG_KEYS)),
)
experiment_events: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        ExperimentCreated,
        name=st.sampled_from(NAMES),
        created_at=milliseconds,
        artifact_location=st.sampled_from([None, "s3://bucket/x"]),
        tags=tags,
    ),
    st.builds(ExperimentEnsured, name=st.sampled_from(NAMES), created_at=milliseconds),
    st.builds(ExperimentRenamed, experiment_id=experiment_ids, name=st.sampled_from(NAMES), updated_at=milliseconds),
    st.builds(ExperimentDeleted, experiment_id=experiment_ids, updated_at=milliseconds),
    st.builds(ExperimentRestored, experiment_id=experiment_ids, updated_at=milliseconds),
    st.builds(
        ExperimentTagSet,
        experiment_id=experiment_ids,
        key=st.sampled_from(TAG_KEYS),
        value=st.sampled_from(VALUES),
    ),
    st.builds(ExperimentTagDeleted, experiment_id=experiment_ids, key=st.sampled_from(TAG_KEYS)),
)


@st.composite
def histories(draw: st.DrawFn, min_size: int = 30, max_size: int = 90) -> list[Sent]:
    """Events in the order in which they reach the log, each with an id of its own.

    Half of them begin with an experiment, so that not most of what follows is refused.
    """
    moves = draw(
        st.lists(
            st.tuples(st.just(EXPERIMENTS), experiment_events)
            | st.tuples(st.sampled_from(RUNS).map(run_stream), run_events),
            min_size=min_size,
            max_size=max_size,
        )
    )
    if draw(st.booleans()):
        moves.insert(0, (EXPERIMENTS, ExperimentCreated(name=NAMES[0], created_at=1)))
    unused = list(ENSURING)
    sent = []
    for number, (stream, event) in enumerate(moves):
        at_ms = START_MS + draw(st.sampled_from([0, 1, -YEAR_MS]))
        chosen = unused.pop() if isinstance(event, ExperimentEnsured) and len(unused) > 1 else event_id(number, at_ms)
        sent.append(Sent(chosen, stream, event, at_ms))
    return sent


@st.composite
def meeting_points(draw: st.DrawFn, max_calls: int = 30) -> list[Sent]:
    """A run whose points meet: few steps, times and values, several series of a key, zeros of both signs, NaN."""
    calls = draw(st.lists(st.lists(st.tuples(series, *few), min_size=1, max_size=3), min_size=5, max_size=max_calls))
    events: list[tuple[str, Event]] = [
        (EXPERIMENTS, ExperimentCreated(name=NAMES[0], created_at=1)),
        (run_stream(RUNS[0]), RunCreated(name="n", start_time=1, experiment_id=0)),
    ]
    for call in calls:
        logged = [(("k", model, dataset), *point) for (_, model, dataset), *point in call]
        events.append((run_stream(RUNS[0]), RunLogged(metrics=of_points(logged))))
    return [Sent(event_id(number), stream, event) for number, (stream, event) in enumerate(events)]


@st.composite
def meeting_uses(draw: st.DrawFn, min_size: int = 40, max_size: int = 80) -> list[Sent]:
    """Runs of one experiment, one of which is created late, that use the same few datasets and list models."""
    listed = st.builds(RunModelLogged, entry=st.sampled_from(ENTRIES))
    cleared = st.just(RunTagDeleted(key=MODEL_HISTORY)) | st.builds(
        RunLogged, tags=st.fixed_dictionaries({MODEL_HISTORY: st.sampled_from(["[]", "[7]", "7]", ""])})
    )
    event = st.one_of(used, used, made, listed, listed, listed, listed, cleared)
    moves = draw(st.lists(st.tuples(st.sampled_from(RUNS[:3]), event), min_size=min_size, max_size=max_size))
    events: list[tuple[str, Event]] = [(EXPERIMENTS, ExperimentCreated(name=NAMES[0], created_at=1))]
    events += [(run_stream(run), event) for run, event in moves]
    created = RunCreated(name="n", start_time=1, experiment_id=0)
    for run, at in zip(RUNS, (1, 1, draw(st.integers(1, len(events)))), strict=False):
        events.insert(at, (run_stream(run), created))
    return [Sent(event_id(number), stream, event) for number, (stream, event) in enumerate(events)]


def cuts(size: int) -> st.SearchStrategy[list[int]]:
    """Where to cut a history into batches."""
    return st.lists(st.integers(1, max(1, size - 1)), max_size=12).map(lambda places: sorted(set(places)))


def cut(sent: list[Sent], places: list[int]) -> list[list[Sent]]:
    """The history in batches, none of them empty."""
    ends = [0, *(place for place in places if place < len(sent)), len(sent)]
    return [sent[start:stop] for start, stop in pairwise(ends) if stop > start]


def incompressible(length: int, seed: int) -> str:
    """Random characters of four bytes each: what neither zstd nor TOAST makes smaller."""
    source = random.Random(seed)
    return "".join(chr(source.randrange(0x10000, 0x110000)) for _ in range(length))


def greatest_uses() -> list[Event]:
    """Datasets and models whose every name, and every tag, is as long as it may be."""
    dataset = Dataset(
        incompressible(500, 10), incompressible(36, 11), incompressible(36, 12), incompressible(65_535, 13),
        incompressible(200_000, 14), incompressible(200_000, 15),
    )  # fmt: skip
    tags = {incompressible(255, 16): incompressible(500, 17), "mlflow.data.context": incompressible(500, 18)}
    model_id = incompressible(36, 19)
    return [
        RunInputsLogged(datasets=[DatasetInput(dataset, tags)], models=[model_id]),
        RunOutputsLogged(models=[ModelOutput(model_id, INT64_MIN)]),
        RunModelLogged(entry=json.dumps({"run_id": incompressible(500, 20)})),
        RunModelLogged(entry=json.dumps({"run_id": incompressible(500, 21)})),
    ]


def greatest() -> list[Sent]:
    """An experiment and a run whose every field is as long as MLflow allows, and does not compress.

    Lengths are those of mlflow.utils.validation and of stock's columns (3.17).
    """
    run_id = "r" + "".join(chr(0x20000 + (7919 * n) % 40_000) for n in range(255))
    keys = [incompressible(250, seed) for seed in range(100)]
    columns_of_greatest: dict[str, Any] = {
        "model_ids": [incompressible(36, 300)] * 100,
        "dataset_names": [incompressible(500, 400)] * 100,
        "dataset_digests": [incompressible(36, 500)] * 100,
    }
    metrics = columns_from_points(
        keys, [INT64_MIN] * 50 + [INT64_MAX] * 50, [INT64_MAX] * 100, [5e-324] * 99 + [-0.0], **columns_of_greatest
    )
    events: list[tuple[str, Event]] = [
        (
            EXPERIMENTS,
            ExperimentCreated(
                name=incompressible(500, 1),
                created_at=INT64_MAX,
                artifact_location=incompressible(2048, 2),
                tags={key: incompressible(20_000, seed) for seed, key in enumerate(keys[:20], 1000)},
            ),
        ),
        (EXPERIMENTS, ExperimentTagSet(experiment_id=0, key=keys[0], value=incompressible(20_000, 3))),
        (EXPERIMENTS, ExperimentRenamed(experiment_id=0, name=incompressible(500, 4), updated_at=INT64_MAX)),
        (
            run_stream(run_id),
            RunCreated(
                name=incompressible(8000, 5),
                start_time=INT64_MAX,
                user_id=incompressible(256, 6),
                experiment_id=0,
                tags={key: incompressible(8000, seed) for seed, key in enumerate(keys, 2000)},
            ),
        ),
        (
            run_stream(run_id),
            RunLogged(
                metrics=metrics,
                params={key: incompressible(6000, seed) for seed, key in enumerate(keys, 3000)},
                tags={key: incompressible(8000, seed) for seed, key in enumerate(keys, 4000)},
            ),
        ),
        (run_stream(run_id), RunUpdated(status="FINISHED", end_time=INT64_MAX, name=incompressible(8000, 7))),
        *((run_stream(run_id), event) for event in greatest_uses()),
    ]
    return [
        Sent(event_id(number), stream, event, actor=incompressible(250, 8), writer=incompressible(250, 9), sequence=1)
        for number, (stream, event) in enumerate(events)
    ]
