"""What the calls that write metrics, params and tags ask for: all become one :class:`LogBatch`.

log-batch is the hot path. A typed decoder (:func:`_swift`) reads bodies as MLflow's own client writes them and gives up
on anything else; then protobuf's rules are followed one field at a time (:func:`_exact`), and a refusal gets its words.
Where the first one answers, the second would answer the same.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from runstream_schemas.columns import Int64, MetricColumns, Milliseconds, columns_from_points
from runstream_services.gateway import rules
from runstream_services.gateway.fields import SPECIAL_DOUBLES, Convert, Message, double, int64, required, text


class LogBatch(msgspec.Struct, frozen=True):
    """One log call on one run, valid by MLflow's rules.

    ``series`` is None without metrics. ``params`` has each key once. Of a tag given twice the last value counts.
    ``truncated`` counts the param and tag values that were cut to MLflow's lengths.
    """

    run_id: str
    series: MetricColumns | None = None
    params: list[tuple[str, str]] = []
    tags: dict[str, str] = {}
    truncated: int = 0


class _Point(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A metric point as the clients mostly send it."""

    key: str
    value: float
    timestamp: Milliseconds
    step: Int64 = 0


class _FullPoint(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A metric point with everything that MLflow's own client may put into it."""

    key: str
    value: float | str
    timestamp: Milliseconds
    step: Int64 = 0
    model_id: Annotated[str, msgspec.Meta(max_length=rules.MAX_MODEL_ID)] | None = None
    dataset_name: Annotated[str, msgspec.Meta(max_length=rules.MAX_DATASET_NAME)] | None = None
    dataset_digest: Annotated[str, msgspec.Meta(max_length=rules.MAX_DATASET_DIGEST)] | None = None
    run_id: str | None = None


class _Points(msgspec.Struct, frozen=True, gc=False):
    """Metric points, one entry per point in each list; origins are None where no point has one."""

    keys: list[str]
    steps: list[int]
    timestamps: list[int]
    values: list[float]
    model_ids: list[str | None] | None = None
    dataset_names: list[str | None] | None = None
    dataset_digests: list[str | None] | None = None


class _Pair(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    key: str
    value: str = ""


class _Body(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    run_id: str
    metrics: list[_Point] = []
    params: list[_Pair] = []
    tags: list[_Pair] = []


class _FullBody(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    run_id: str
    metrics: list[_FullPoint] = []
    params: list[_Pair] = []
    tags: list[_Pair] = []


_decode: Final = msgspec.json.Decoder(_Body).decode
_decode_full: Final = msgspec.json.Decoder(_FullBody).decode
_NOT_DECODED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_POINT: Final[dict[str, Convert]] = {
    "key": text,
    "value": double,
    "timestamp": int64,
    "step": int64,
    "model_id": text,
    "dataset_name": text,
    "dataset_digest": text,
}
_PAIR: Final[dict[str, Convert]] = {"key": text, "value": text}
_RUN: Final[dict[str, Convert]] = {"run_id": text, "run_uuid": text}

# A point's run_id is read and then ignored, as in stock: it names the run that the call is for.
_LOG_BATCH = Message(
    {"run_id": text},
    many={
        "metrics": Message(_POINT | {"run_id": text}).read,
        "params": Message(_PAIR).read,
        "tags": Message(_PAIR).read,
    },
)
_LOG_METRIC = Message(_RUN | _POINT)
_LOG_PAIR = Message(_RUN | _PAIR)


def parse_log_batch(body: bytes) -> LogBatch:
    """The body of ``runs/log-batch``."""
    return _swift(body) or _exact(body)


def parse_log_metric(body: bytes) -> LogBatch:
    """The body of ``runs/log-metric``: one point."""
    got = _LOG_METRIC.from_body(body)
    run_id = run_of(got)
    _check_complete(got, "")
    _check_point(got, "")
    return _assembled(run_id, _points_of([got]), [], [])


def parse_log_parameter(body: bytes) -> LogBatch:
    """The body of ``runs/log-parameter``: one param."""
    got = _LOG_PAIR.from_body(body)
    run_id = run_of(got)
    key: str = required(got, "key")
    rules.check_param_key(key, "key")
    return _assembled(run_id, None, [_pair_of(got)], [])


def parse_set_tag(body: bytes) -> LogBatch:
    """The body of ``runs/set-tag``: one tag."""
    got = _LOG_PAIR.from_body(body)
    run_id = run_of(got)
    key: str = required(got, "key")
    rules.check_tag_key(key, "key")
    return _assembled(run_id, None, [], [_pair_of(got)])


def run_of(got: dict[str, Any]) -> str:
    """The run that a message names by ``run_id`` or, where that is unset, by its alias ``run_uuid``."""
    run_id: str | None = got.get("run_id")
    if run_id is None:
        run_id = got.get("run_uuid")
    return run_id or required(got, "run_id")


def _swift(body: bytes) -> LogBatch | None:
    """The body where the typed decoders know it and no rule speaks against it, else None."""
    try:
        plain = _decode(body)
    except _NOT_DECODED:
        try:
            full = _decode_full(body)
        except _NOT_DECODED:
            return None
        full_points = _full_points(full.metrics)
        if full_points is None:
            return None
        return _within_rules(body, full.run_id, full_points, full.params, full.tags)
    metrics = plain.metrics
    points = _Points(
        [point.key for point in metrics],
        [point.step for point in metrics],
        [point.timestamp for point in metrics],
        [point.value for point in metrics],
    )
    return _within_rules(body, plain.run_id, points, plain.params, plain.tags)


def _full_points(metrics: list[_FullPoint]) -> _Points | None:
    """The points by column; None where a value is another string than a double's name, or a dataset is half there."""
    dataset_names = [point.dataset_name or None for point in metrics]
    dataset_digests = [point.dataset_digest or None for point in metrics]
    if list(map(bool, dataset_names)) != list(map(bool, dataset_digests)):
        return None
    try:
        values = [SPECIAL_DOUBLES[point.value] if isinstance(point.value, str) else point.value for point in metrics]
    except KeyError:
        return None
    return _Points(
        [point.key for point in metrics],
        [point.step for point in metrics],
        [point.timestamp for point in metrics],
        values,
        _used([point.model_id or None for point in metrics]),
        _used(dataset_names),
        _used(dataset_digests),
    )


def _within_rules(
    body: bytes, run_id: str, points: _Points, param_pairs: list[_Pair], tag_pairs: list[_Pair]
) -> LogBatch | None:
    if b"\\" in body and b"\\u0000" in body:  # raw ones are not JSON
        return None
    metrics, params, tags = len(points.keys), len(param_pairs), len(tag_pairs)
    if (
        metrics > rules.MAX_METRICS
        or params > rules.MAX_PARAMS
        or tags > rules.MAX_TAGS
        or metrics + params + tags > rules.MAX_ENTITIES
        or not rules.is_run_id(run_id)
    ):
        return None
    keys = set(points.keys)
    if params:
        param_keys = {pair.key for pair in param_pairs}
        if len(param_keys) < params:
            return None
        keys |= param_keys
    if tags:
        keys.update([pair.key for pair in tag_pairs])
    if not rules.keys_are_good(keys):
        return None
    return _assembled(
        run_id,
        points,
        [(pair.key, pair.value) for pair in param_pairs],
        [(pair.key, pair.value) for pair in tag_pairs],
    )


def _exact(body: bytes) -> LogBatch:
    """The body by protobuf's rules and then, in stock's order, by MLflow's; 400 where it breaks one."""
    got = _LOG_BATCH.from_body(body)
    metrics, params, tags = (got.get(name) or [] for name in ("metrics", "params", "tags"))
    run_id: str = required(got, "run_id")
    for at, point in enumerate(metrics):
        _check_complete(point, f"metrics[{at}]")
    for name, pairs in (("params", params), ("tags", tags)):
        for at, pair in enumerate(pairs):
            required(pair, "key", f"{name}[{at}]")
    rules.check_run_id(run_id)
    for at, point in enumerate(metrics):
        _check_point(point, f"metrics[{at}]")
    for at, pair in enumerate(params):
        rules.check_param_key(pair["key"], f"params[{at}].key")
    for at, pair in enumerate(tags):
        rules.check_tag_key(pair["key"], f"tags[{at}].key")
    rules.check_batch_limits(len(metrics), len(params), len(tags))
    rules.check_params_unique([pair["key"] for pair in params])
    return _assembled(run_id, _points_of(metrics), list(map(_pair_of, params)), list(map(_pair_of, tags)))


def _check_complete(point: dict[str, Any], path: str) -> None:
    for name in ("key", "value", "timestamp"):
        required(point, name, path)
    rules.check_dataset(point.get("dataset_name"), point.get("dataset_digest"), path)


def _check_point(point: dict[str, Any], path: str) -> None:
    rules.check_metric(point["key"], point["value"], point["timestamp"], path)
    rules.check_origin(point.get("model_id"), point.get("dataset_name"), point.get("dataset_digest"), path)


def _points_of(metrics: list[dict[str, Any]]) -> _Points:
    """The points of messages read; an origin that is empty is none."""
    return _Points(
        [point["key"] for point in metrics],
        [point.get("step") or 0 for point in metrics],
        [point["timestamp"] for point in metrics],
        [point["value"] for point in metrics],
        _used([point.get("model_id") or None for point in metrics]),
        _used([point.get("dataset_name") or None for point in metrics]),
        _used([point.get("dataset_digest") or None for point in metrics]),
    )


def _pair_of(pair: dict[str, Any]) -> tuple[str, str]:
    return pair["key"], pair.get("value") or ""


def _used(column: list[str | None]) -> list[str | None] | None:
    return column if any(column) else None


def _assembled(
    run_id: str, points: _Points | None, params: list[tuple[str, str]], tags: list[tuple[str, str]]
) -> LogBatch:
    """The call, once no rule speaks against it."""
    cut = 0
    if params:
        params, cut = rules.cut_values(params, rules.MAX_PARAM_VALUE)
    if tags:
        tags, tags_cut = rules.cut_values(tags, rules.MAX_TAG_VALUE)
        cut += tags_cut
    series = None
    if points is not None and points.keys:
        series = columns_from_points(
            points.keys,
            points.steps,
            points.timestamps,
            points.values,
            model_ids=points.model_ids,
            dataset_names=points.dataset_names,
            dataset_digests=points.dataset_digests,
        )
    by_key = dict(tags)
    if by_key.get(rules.RUN_NAME_TAG) == "":
        del by_key[rules.RUN_NAME_TAG]  # as in stock, a run keeps its name then
    return LogBatch(run_id, series, params, by_key, cut)
