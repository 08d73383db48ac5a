"""Every endpoint of experiments and runs, with every field that it reads, and what is drawn for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from hypothesis import strategies as st

from tests.differential import values
from tests.differential.calls import AJAX, API

_VIEWS: Final = st.sampled_from(["ACTIVE_ONLY", "DELETED_ONLY", "ALL", "ALL", 1, 2, 3, "3"])
_TOKENS: Final = st.sampled_from(["", "nonsense", "e30=", "eyJvZmZzZXQiOiAwfQ==", "eyJvZmZzZXQiOiAyfQ==", "é", "="])


class Field(NamedTuple):
    """A field: its kind (a key of ``values.WRONG``), what it takes, and what breaks a rule though the kind is right."""

    kind: str
    good: st.SearchStrategy[Any]
    bad: st.SearchStrategy[Any] | None = None
    #: the fields of the objects in an array of them
    inner: Mapping[str, Field] | None = None


class Row(NamedTuple):
    """An endpoint: fields that a call must have, and others. ``search`` says whose filter and order it takes."""

    method: str
    path: str
    needed: Mapping[str, Field]
    other: Mapping[str, Field] = {}
    prefixes: tuple[str, ...] = (API, AJAX)
    search: str | None = None
    #: draws of it among those of all
    weight: int = 2

    @property
    def name(self) -> str:
        """As the coverage has it."""
        return f"{self.method} {self.path}"


@st.composite
def example(draw: st.DrawFn, needed: Mapping[str, Field], other: Mapping[str, Field]) -> dict[str, Any]:
    found = {name: draw(field.good) for name, field in needed.items()}
    for name, field in other.items():
        if draw(st.booleans()):
            found[name] = draw(field.good)
    return found


def _objects(needed: Mapping[str, Field], other: Mapping[str, Field] = {}, *, most: int = 3, over: int = 0) -> Field:
    one = example(needed, other)
    bad = None
    if over:
        item = {"key": "many$at$", "value": 1 if "timestamp" in needed else "x", "timestamp": 1}
        bad = st.sampled_from([{"$times": [over + 1, item]}, {"$times": [over, item]}])
    return Field("objects", st.lists(one, max_size=most), bad, {**needed, **other})


_KEY = Field("text", values.keys, st.sampled_from(values.BAD_KEYS))
_TAG_KEY = Field("text", values.keys | st.sampled_from(["mlflow.note.content", "mlflow.user"]), _KEY.bad)
_VALUE = Field("text", values.long_texts)
_RUN = Field("text", values.RUN_IDS, values.BAD_RUN_IDS)
_EXPERIMENT = Field("text", values.EXPERIMENT_IDS, values.BAD_EXPERIMENT_IDS)
_NUMBER = Field("double", values.numbers)
_TIME = Field("int64", values.moments, st.sampled_from([-1, "-5"]))
_STEP = Field("int64", values.steps)
_NAME = Field(
    "text",
    st.sampled_from(["$name:a$", "$name:b$", "$name:A$", "$name:it's$", "$name:é b/c$"]),
    st.sampled_from(["", "$times:x:501$", "Default"]),
)
_RUN_NAME = Field("text", values.texts.filter(bool) | st.just("adjective-noun-1"))
_POINT: Final = {"key": _KEY, "value": _NUMBER, "timestamp": _TIME}
_ORIGIN: Final = {
    "step": _STEP,
    "dataset_name": Field("text", st.sampled_from(["d1", "", "d2"]), st.just("$times:d:501$")),
    "dataset_digest": Field("text", st.sampled_from(["1", "", "2"]), st.just("$times:d:37$")),
}
_MODEL = Field("text", values.models)
_PAGE: Final = {
    "max_results": Field("int64", st.sampled_from([2, 3, 5, "3", 1000, 50000]), st.sampled_from([0, -1, 50001, "0"])),
    "page_token": Field("text", st.just(""), _TOKENS),
}
_CREATED_TAG_KEY = Field(
    "text", _TAG_KEY.good | st.sampled_from(values.QUOTED_KEYS), st.sampled_from(["", "$times:k:251$", "a\n"])
)

_DATASET: Final = {
    "name": Field("text", st.sampled_from(["d1", "d2", "it's"]), st.just("$times:d:501$")),
    "digest": Field("text", st.sampled_from(["1", "2"]), st.just("$times:1:37$")),
    "source_type": Field("text", st.just("local")),
    "source": Field("text", st.sampled_from(["s", "{}"]), st.just("$times:s:65536$")),
}
_DATASET_INPUT: Final = st.builds(
    lambda tags, dataset: {"tags": tags, "dataset": dataset},
    st.dictionaries(st.sampled_from(["mlflow.data.context", "k"]), st.sampled_from(["train", "x", ""])).map(
        lambda tags: [{"key": key, "value": value} for key, value in tags.items()]
    ),
    example(_DATASET, {"schema": Field("text", st.sampled_from(["{}", "s"])), "profile": Field("text", st.just("{}"))}),
)
_LOCATIONS: Final = ["", "mlflow-artifacts:/somewhere", "s3://bucket/a b", "file:///tmp/x", "s3://b/p?q=1"]
_BAD_LOCATIONS: Final = [
    "runs:/x/y", "http://h/x", "mlflow-artifacts://h/x", "s3://b/x#f", "s3://b/x?a=../b", "$times:x:2049$", "ftp://h/x",
]  # fmt: skip
_EXPERIMENT_TAG: Final = {"key": _TAG_KEY, "value": Field("text", values.long_texts, st.just("$times:v:20001$"))}
_RUNS: Final = Field(
    "texts", st.lists(values.RUN_IDS, min_size=1, max_size=3), st.sampled_from([[], {"$times": [101, "x"]}])
)
_WHOLE: Final = {"name": "d", "digest": "1", "source_type": "t", "source": "s"}
_BAD_DATASETS: Final[list[Any]] = [
    [{}],
    [{"dataset": {**_WHOLE, "name": "$times:d:501$"}}],
    [{"dataset": {**_WHOLE, "digest": "$times:1:37$"}}],
    [{"dataset": {**_WHOLE, "source": "$times:s:65536$"}}],
    [{"dataset": {"name": "d", "digest": "1", "source_type": "t"}}],
    [{"dataset": _WHOLE, "tags": [{"key": "$times:k:256$", "value": "v"}]}],
    [{"dataset": _WHOLE, "tags": [{"key": "k", "value": "$times:v:501$"}]}],
]
_MODEL_JSON: Final = st.sampled_from(
    [
        '{"artifact_path": "m", "flavors": {}, "utc_time_created": "2026-01-01 00:00:00", "run_id": "$run:0$"}',
        '{"artifact_path": "n", "flavors": {"f": {}}, "utc_time_created": "2026-01-01", "run_id": "$run:1$"}',
    ]
)

_OUTPUTS: Final = st.lists(
    st.fixed_dictionaries(
        {"model_id": st.sampled_from(["$model:1$", "$model:2$"]), "step": st.sampled_from([0, 1, -1])}
    ),
    min_size=1,
    max_size=2,
    unique_by=lambda output: output["model_id"],
)
_TWICE: Final = [{"model_id": "$model:1$", "step": 0}, {"model_id": "$model:1$", "step": 1}]
_BAD_MODEL_JSON: Final = st.sampled_from(
    ["", "{}", "nonsense", "[]", '{"artifact_path": "m", "flavors": {}}', "5", "null"]
)

ROWS: Final = (
    Row(
        "POST",
        "experiments/create",
        {"name": _NAME},
        {
            "artifact_location": Field("text", st.sampled_from(_LOCATIONS), st.sampled_from(_BAD_LOCATIONS)),
            "tags": _objects(_EXPERIMENT_TAG),
        },
        weight=3,
    ),
    Row("GET", "experiments/get", {"experiment_id": _EXPERIMENT}),
    Row("GET", "experiments/get-by-name", {"experiment_name": _NAME}),
    Row(
        "POST",
        "experiments/search",
        {"max_results": _PAGE["max_results"]},
        {"view_type": Field("enum", _VIEWS), "page_token": _PAGE["page_token"]},
        search="experiments",
        weight=6,
    ),
    Row(
        "GET",
        "experiments/search",
        {"max_results": _PAGE["max_results"]},
        {"view_type": Field("enum", _VIEWS), "page_token": _PAGE["page_token"]},
        search="experiments",
        weight=3,
    ),
    Row("POST", "experiments/update", {"experiment_id": _EXPERIMENT, "new_name": _NAME}),
    Row("POST", "experiments/delete", {"experiment_id": _EXPERIMENT}, weight=1),
    Row("POST", "experiments/restore", {"experiment_id": _EXPERIMENT}),
    Row("POST", "experiments/set-experiment-tag", {"experiment_id": _EXPERIMENT, **_EXPERIMENT_TAG}),
    Row("POST", "experiments/delete-experiment-tag", {"experiment_id": _EXPERIMENT, "key": _TAG_KEY}),
    Row(
        "POST",
        "experiments/search-datasets",
        {
            "experiment_ids": Field(
                "texts",
                st.lists(values.EXPERIMENT_IDS, min_size=1, max_size=3),
                st.sampled_from([[], ["999999999"], ["abc"], {"$times": [21, "0"]}]),
            )
        },
        prefixes=(AJAX,),
    ),
    Row(
        "POST",
        "runs/create",
        {"start_time": Field("int64", values.moments.filter(bool)), "run_name": _RUN_NAME},
        {
            "experiment_id": _EXPERIMENT,
            "user_id": Field("text", values.texts),
            "tags": _objects({"key": _CREATED_TAG_KEY, "value": _VALUE}),
        },
        weight=4,
    ),
    Row("GET", "runs/get", {"run_id": _RUN}, weight=3),
    Row(
        "POST",
        "runs/update",
        {"run_id": _RUN},
        {
            "status": Field(
                "enum", st.sampled_from(["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED", 1, "3", 5])
            ),
            "end_time": Field("int64", values.moments),
            "run_name": Field("text", values.texts),
        },
    ),
    Row("POST", "runs/delete", {"run_id": _RUN}, weight=1),
    Row("POST", "runs/restore", {"run_id": _RUN}),
    Row("POST", "runs/log-metric", {"run_id": _RUN, **_POINT}, _ORIGIN),
    Row("POST", "runs/log-parameter", {"run_id": _RUN, "key": _KEY}, {"value": _VALUE}),
    Row("POST", "runs/set-tag", {"run_id": _RUN, "key": _TAG_KEY}, {"value": _VALUE}),
    Row("POST", "runs/delete-tag", {"run_id": _RUN, "key": _TAG_KEY}),
    Row(
        "POST",
        "runs/log-batch",
        {"run_id": _RUN},
        {
            "metrics": _objects(_POINT, {**_ORIGIN, "run_id": Field("text", st.just("x"))}, most=8, over=1000),
            "params": _objects({"key": _KEY}, {"value": _VALUE}, most=2, over=100),
            "tags": _objects({"key": _TAG_KEY}, {"value": _VALUE}, over=100),
        },
        weight=6,
    ),
    Row(
        "POST",
        "runs/log-inputs",
        {"run_id": _RUN},
        {
            "datasets": Field("objects", st.lists(_DATASET_INPUT, max_size=3), st.sampled_from(_BAD_DATASETS)),
            "models": _objects({"model_id": _MODEL}),
        },
        weight=3,
    ),
    Row(
        "POST",
        "runs/outputs",
        {
            "run_id": _RUN,
            "models": Field("objects", _OUTPUTS, st.just(_TWICE)),
        },
    ),
    Row("POST", "runs/log-model", {"run_id": _RUN, "model_json": Field("text", _MODEL_JSON, _BAD_MODEL_JSON)}),
    Row(
        "POST",
        "runs/search",
        {
            "experiment_ids": Field(
                "texts",
                st.lists(values.EXPERIMENT_IDS, min_size=1, max_size=3),
                st.sampled_from([[], ["999999999"], ["abc"], ["$experiment:0$", "1.5"]]),
            )
        },
        {
            "run_view_type": Field("enum", _VIEWS),
            "max_results": Field("int32", _PAGE["max_results"].good, _PAGE["max_results"].bad),
            "page_token": _PAGE["page_token"],
        },
        search="runs",
        weight=12,
    ),
    Row(
        "GET",
        "metrics/get-history",
        {"run_id": _RUN, "metric_key": Field("text", values.keys)},
        {
            "max_results": Field("int32", st.sampled_from([2, 3, 1000]), st.sampled_from([0, -1])),
            "page_token": _PAGE["page_token"],
        },
        weight=3,
    ),
    Row(
        "GET",
        "metrics/get-history-bulk",
        {"run_id": _RUNS, "metric_key": Field("text", values.keys)},
        {"max_results": Field("int32", st.sampled_from([2, 1000, 25000]), st.sampled_from([0, -1, 25001]))},
        prefixes=(AJAX,),
    ),
    Row(
        "GET",
        "metrics/get-history-bulk-interval",
        {"run_ids": _RUNS, "metric_key": Field("text", values.keys)},
        {
            "max_results": Field("int32", st.sampled_from([1, 2, 3, 2500]), st.sampled_from([0, -1, 2501])),
            "start_step": Field("int32", st.sampled_from([-3, 0, 1])),
            "end_step": Field("int32", st.sampled_from([0, 1, 5])),
        },
    ),
)

#: Rows whose run may be named by ``run_uuid``.
ALIASED: Final = frozenset(
    {"runs/get", "runs/update", "runs/log-metric", "runs/log-parameter", "runs/set-tag", "metrics/get-history"}
)
