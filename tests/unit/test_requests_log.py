"""log-batch and its single-entry relatives: the swift way and the exact way agree, and each rule has its 400."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from runstream_schemas.columns import MetricColumns
from runstream_schemas.errors import RequestError
from runstream_services.gateway.requests_log import (
    LogBatch,
    _exact,
    _swift,
    parse_log_batch,
    parse_log_metric,
    parse_log_parameter,
    parse_set_tag,
)

RUN = "0123456789abcdef0123456789abcdef"
POINT = {"key": "loss", "value": 0.5, "timestamp": 1_700_000_000_000, "step": 3}


def body(**fields: Any) -> bytes:
    return json.dumps({"run_id": RUN, **fields}).encode()


def refusal(parse: Callable[[bytes], object], sent: bytes) -> str:
    with pytest.raises(RequestError) as caught:
        parse(sent)
    assert (caught.value.status, caught.value.code) == (400, "INVALID_PARAMETER_VALUE")
    caught.value.message.encode()  # can be sent
    return caught.value.message


def outcome(parse: Callable[[bytes], object], sent: bytes) -> str:
    """What a parse gives, comparable to the last bit."""
    try:
        return repr(parse(sent))
    except RequestError as error:
        return f"{error.status} {error.code}: {error.message}"


# Bodies are made as text, so that they hold what json.dumps would not write: bare NaN, 1e400, keys given twice.
STRINGS = st.sampled_from(
    [
        *('"a"', '"a/b"', '"é"', '"\\u00e9\\ud83d\\ude00"', '"a//b"', '""', '"a\\u0000"', '"\\ud800"', '"a\\\\u0000"'),
        *('"a@"', '"a\\n"', "null", "5", "true", "[]", "{}", f'"{RUN}"', '"m-1"', f'"{"k" * 251}"', f'"{"v" * 6001}"'),
    ]
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False).map(repr) | st.sampled_from(
    [
        *("0", "-0", "-0.0", "1.5", "1E5", "9007199254740993", "123456789012345678901234", "1" + "0" * 400, "1e400"),
        *("-1e400", "NaN", "Infinity", '"NaN"', '"Infinity"', '"-Infinity"', '"nan"', '"1.5"', '"x"', '""'),
        *("true", "null", "[]"),
    ]
)
INTEGERS = st.integers(0, 2**63 - 1).map(str) | st.sampled_from(
    [
        *("0", "-1", "-0", "-0.0", "1.0", "1.5", "1e3", '"5"', '"5.0"', '"x"', "null", "true", "[]", "{}"),
        *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "9" * 30),
    ]
)


@st.composite
def objects(
    draw: st.DrawFn,
    expected: dict[str, tuple[str, st.SearchStrategy[str]]],
    optional: dict[str, st.SearchStrategy[str]],
) -> str:
    """A JSON object: mostly the usual values of what is expected, sometimes another one, none, or other fields too."""
    fields = []
    for name, (usual, others) in expected.items():
        chosen = draw(st.just(usual) | st.just(usual) | st.just(usual) | others | st.none())
        if chosen is not None:
            fields.append((name, chosen))
    known = {name: others for name, (_, others) in expected.items()} | optional
    names = draw(st.just([]) | st.lists(st.sampled_from(sorted(known)), max_size=2))
    fields += [(name, draw(known[name])) for name in names]
    return "{" + ", ".join(f'"{name}": {value}' for name, value in fields) + "}"


def lists(items: st.SearchStrategy[str], usual: str) -> st.SearchStrategy[str]:
    """A JSON array, seldom something else."""
    arrays = st.lists(st.just(usual) | items, max_size=4).map(lambda found: "[" + ",".join(found) + "]")
    return arrays | arrays | arrays | st.sampled_from(["null", "5", '"x"', "{}", "[null]", "[1]"])


SPELLINGS = ("model_id", "modelId", "dataset_name", "datasetName", "dataset_digest", "run_id", "runId", "other")
POINTS = objects(
    {"key": ('"a"', STRINGS), "value": ("0.25", NUMBERS), "timestamp": ("7", INTEGERS)},
    {"step": INTEGERS} | dict.fromkeys(SPELLINGS, STRINGS),
)
PAIRS = objects({"key": ('"a"', STRINGS), "value": ('"v"', STRINGS)}, {"other": STRINGS})
BODIES = objects(
    {
        "run_id": (f'"{RUN}"', STRINGS),
        "metrics": (
            '[{"key": "m", "value": -0.0, "timestamp": 5}]',
            lists(POINTS, '{"key":"b","value":1,"timestamp":0}'),
        ),
        "params": ("[]", lists(PAIRS, '{"key": "p", "value": "v"}')),
        "tags": ("[]", lists(PAIRS, '{"key": "t", "value": "v"}')),
    },
    {"runId": STRINGS, "run_uuid": STRINGS, "other": NUMBERS},
)


@settings(max_examples=400)
@given(BODIES)
def test_the_swift_way_answers_as_the_exact_way_or_not_at_all(sent: str) -> None:
    got = _swift(sent.encode())
    event("swift" if got is not None else "exact")
    if got is not None:
        assert repr(got) == outcome(_exact, sent.encode())
    assert outcome(parse_log_batch, sent.encode()) == outcome(_exact, sent.encode())


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "key": st.sampled_from(["a", "b", "c/d", "é"]),
                "value": st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(["NaN", "-Infinity"]),
                "timestamp": st.integers(0, 2**63 - 1),
            },
            optional={
                "step": st.integers(-(2**63), 2**63 - 1),
                "model_id": st.sampled_from(["", "m", None]),
                "run_id": st.just(RUN),
            },
        ).flatmap(
            lambda point: st.sampled_from(
                [point, point | {"dataset_name": "n", "dataset_digest": "d"}, point | {"dataset_name": ""}]
            )
        ),
        max_size=5,
    ),
    st.dictionaries(st.sampled_from(["p", "q"]), st.text(st.characters(exclude_characters="\x00", codec="utf-8"))),
    st.booleans(),
)
def test_what_mlflows_client_writes_goes_the_swift_way(
    metrics: list[dict[str, Any]], pairs: dict[str, str], ascii_only: bool
) -> None:
    params = [{"key": key, "value": value} for key, value in pairs.items()]
    whole = {"run_id": RUN, "metrics": metrics, "params": params, "tags": params}
    sent = json.dumps(whole, ensure_ascii=ascii_only, indent=2).encode()
    got = _swift(sent)
    if "\\\\u0000" not in sent.decode():  # an escaped backslash before u0000 looks like a NUL at first sight
        assert got is not None
        assert repr(got) == repr(_exact(sent))


@pytest.mark.parametrize(
    "sent",
    [
        body(other="?"),
        body(metrics=[POINT | {"other": "?"}]),
        body(metrics=[POINT | {"model_id": "m", "other": "?"}]),
        body(params=[{"key": "a", "other": "?"}]),
        body(tags=[{"key": "a", "value": "?"}]),
    ],
)
def test_a_body_that_is_not_unicode_is_refused_whatever_holds_it(sent: bytes) -> None:
    """The typed decoder looks only at strings that it keeps: one reason why it refuses fields that it does not know."""
    assert "The request body is not valid JSON" in refusal(parse_log_batch, sent.replace(b"?", b"\xff"))


def test_a_batch_becomes_columns_params_and_tags() -> None:
    sent = body(
        metrics=[POINT, POINT | {"step": 4}, POINT | {"key": "acc", "value": "NaN"}],
        params=[{"key": "lr", "value": "0.1"}, {"key": "empty"}],
        tags=[{"key": "a", "value": "1"}, {"key": "b"}, {"key": "a", "value": "2"}],
    )
    got = parse_log_batch(sent)
    assert got.run_id == RUN
    assert got.series is not None
    assert len(got.series) == 3
    assert (got.series.keys, got.series.counts, got.series.steps) == (["loss", "acc"], [2, 1], [3, 4, 3])
    assert got.series.timestamps == [1_700_000_000_000]
    assert got.series.values[:2] == [0.5, 0.5]
    assert math.isnan(float(got.series.values[2]))
    assert got.params == [("lr", "0.1"), ("empty", "")]
    assert got.tags == {"a": "2", "b": ""}
    assert got.truncated == 0


@pytest.mark.parametrize("sent", [body(), body(metrics=[], params=[], tags=[]), body(metrics=None, other=1)])
def test_an_empty_batch_has_no_series(sent: bytes) -> None:
    assert parse_log_batch(sent) == LogBatch(RUN)


@pytest.mark.parametrize(
    "point",
    [
        {"key": "a", "value": "1.5", "timestamp": "7", "step": "3"},
        {"key": "a", "value": 1.5, "timestamp": 7.0, "step": 3, "modelId": None, "unknown": {"x": 1}},
        {"key": "a", "value": 1.5, "timestamp": 7, "step": 3, "model_id": "", "datasetName": ""},
    ],
)
def test_other_spellings_of_a_point_are_the_same_point(point: dict[str, Any]) -> None:
    expected = MetricColumns(keys=["a"], steps=[3], timestamps=[7], values=[1.5])
    assert parse_log_batch(body(metrics=[point])) == LogBatch(RUN, expected)


def test_camel_case_origins_are_not_lost() -> None:
    point = {"key": "a", "value": 1, "timestamp": 7, "modelId": "m", "datasetName": "n", "datasetDigest": "d"}
    assert parse_log_batch(body(metrics=[point, {"key": "b", "value": 2, "timestamp": 7}])).series == MetricColumns(
        keys=["a", "b"],
        model_ids=["m", None],
        dataset_names=["n", None],
        dataset_digests=["d", None],
        steps=[0],
        timestamps=[7],
        values=[1.0, 2.0],
    )


def test_a_camel_case_run_id_is_the_run_id() -> None:
    assert parse_log_batch(json.dumps({"runId": RUN}).encode()) == LogBatch(RUN)


def test_a_points_own_run_id_is_ignored_as_in_stock() -> None:
    got = parse_log_batch(body(metrics=[POINT | {"run_id": "other"}, POINT | {"key": "b", "runId": "other"}]))
    assert got.run_id == RUN
    assert len(got.series or ()) == 2


def test_long_values_are_cut_and_counted() -> None:
    got = parse_log_batch(
        body(
            params=[{"key": "p", "value": "x" * 6001}, {"key": "q", "value": "x" * 6000}],
            tags=[{"key": "t", "value": "x" * 8001}, {"key": "t", "value": "é" * 9000}],
        )
    )
    assert [len(value) for _, value in got.params] == [6000, 6000]
    assert got.tags == {"t": "é" * 8000}
    assert got.truncated == 3


MISSING = "Missing value for required parameter '{}'. See the API docs for more information about request parameters."


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"{}", MISSING.format("run_id")),
        (b'{"run_id": ""}', MISSING.format("run_id")),
        (json.dumps({"run_uuid": RUN}).encode(), MISSING.format("run_id")),
        (body(metrics=[POINT, {"value": 1, "timestamp": 1}]), MISSING.format("metrics[1].key")),
        (body(metrics=[POINT | {"key": ""}]), MISSING.format("metrics[0].key")),
        (body(metrics=[POINT | {"value": None}]), MISSING.format("metrics[0].value")),
        (body(metrics=[{"key": "a", "value": 1}]), MISSING.format("metrics[0].timestamp")),
        (body(params=[{"value": "a"}]), MISSING.format("params[0].key")),
        (body(tags=[{"key": "a"}, {"key": None}]), MISSING.format("tags[1].key")),
        (body(run_id="a b"), "Invalid value \"a b\" for parameter 'run_id' supplied"),
        (body(metrics="foo"), "Invalid value \"foo\" for parameter 'metrics' supplied"),
        (body(params="foo"), "Invalid value \"foo\" for parameter 'params' supplied"),
        (body(tags="foo"), "Invalid value \"foo\" for parameter 'tags' supplied"),
        (body(params=[{"key": "p", "value": 3}]), "Invalid value 3 for parameter 'params[0].value' supplied"),
        (body(metrics=[POINT, POINT | {"value": "abc"}]), "Invalid value \"abc\" for parameter 'metrics[1].value'"),
        (body(metrics=[POINT | {"key": "a//b"}]), "Invalid value \"a//b\" for parameter 'metrics[0].name' supplied"),
        (body(metrics=[POINT | {"timestamp": -1}]), "Invalid value -1 for parameter 'metrics[0].timestamp' supplied"),
        (body(metrics=[POINT | {"key": "k" * 251}]), "'Metric name' exceeds the maximum length of 250 characters"),
        (body(metrics=[POINT | {"model_id": "m" * 37}]), "'metrics[0].model_id' exceeds the maximum length of 36"),
        (
            body(metrics=[POINT, POINT | {"dataset_name": "n"}]),
            "Both dataset_name and dataset_digest must be provided if one is provided (metrics[1])",
        ),
        (body(params=[{"key": "a@"}]), "Invalid value \"a@\" for parameter 'params[0].key' supplied"),
        (body(tags=[{"key": "k" * 251}]), "'tags[0].key' exceeds the maximum length of 250 characters"),
        (body(params=[{"key": "a"}, {"key": "a"}]), "Duplicate parameter keys have been submitted: ['a']"),
        (body(metrics=[POINT] * 1001), "at most 1000 metrics. Got 1001 metrics"),
        (body(params=[{"key": str(at)} for at in range(101)]), "at most 100 params. Got 101 params"),
        (body(tags=[{"key": "a"}] * 101), "at most 100 tags. Got 101 tags"),
        (body(metrics=[POINT] * 1000, tags=[{"key": "a"}]), "at most 1000 metrics, params, and tags. Got 1001"),
        (body(metrics=[POINT])[:-3], "The request body is not valid JSON"),
        (
            b'{"run_id":"a","metrics":[{"key":"a","value":1e400,"timestamp":1}]}',
            "parameter 'metrics[0].value' supplied",
        ),
        (
            b'{"run_id":"a","params":[{"key":"a","value":"\\u0000"}]}',
            "parameter 'params[0].value' supplied: it holds the",
        ),
        (b'{"run_id":"a","tags":[{"key":"a","value":"\\ud800"}]}', "parameter 'tags[0].value' supplied: it holds the"),
    ],
)
def test_a_bad_batch_is_refused_by_name(sent: bytes, said: str) -> None:
    assert said in refusal(parse_log_batch, sent)


def test_faults_are_told_in_stocks_order() -> None:
    """Values and keys come before limits, limits before params given twice."""
    pairs = [{"key": "a"}] * 101
    assert "parameter 'metrics[0].name'" in refusal(
        parse_log_batch, body(metrics=[POINT | {"key": "/a"}], params=[{"key": "/b"}], tags=pairs)
    )
    assert "parameter 'params[0].key'" in refusal(parse_log_batch, body(params=[{"key": "/b"}], tags=pairs))
    assert "at most 100 params" in refusal(parse_log_batch, body(params=pairs))


def test_a_batch_at_its_limits_is_accepted() -> None:
    metrics = [POINT | {"key": f"k{at}"} for at in range(800)]
    pairs = [{"key": f"k{at}", "value": ""} for at in range(100)]
    got = parse_log_batch(body(metrics=metrics, params=pairs, tags=pairs))
    assert (len(got.series or ()), len(got.params), len(got.tags)) == (800, 100, 100)


def test_one_metric_is_a_batch_of_one_point() -> None:
    expected = LogBatch(RUN, MetricColumns(keys=["loss"], steps=[3], timestamps=[1_700_000_000_000], values=[0.5]))
    assert parse_log_metric(body(**POINT)) == expected
    assert parse_log_metric(json.dumps({"run_uuid": RUN, **POINT}).encode()) == expected
    assert parse_log_metric(body(**POINT, run_uuid="other")) == expected
    assert parse_log_metric(json.dumps({"run_id": None, "runUuid": RUN, **POINT}).encode()) == expected
    with_model = parse_log_metric(body(**POINT, model_id="m", datasetName="n", dataset_digest="d")).series
    assert with_model is not None
    assert (with_model.model_ids, with_model.dataset_names, with_model.dataset_digests) == (["m"], ["n"], ["d"])


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"run_id": None, **POINT}, MISSING.format("run_id")),
        ({"run_id": 31, **POINT}, "Invalid value 31 for parameter 'run_id' supplied"),
        ({"run_id": RUN, **POINT, "key": 31}, "Invalid value 31 for parameter 'key' supplied"),
        ({"run_id": RUN, **POINT, "key": None}, MISSING.format("key")),
        ({"run_id": RUN, **POINT, "value": None}, MISSING.format("value")),
        ({"run_id": RUN, **POINT, "value": "x"}, "Invalid value \"x\" for parameter 'value' supplied"),
        ({"run_id": RUN, **POINT, "timestamp": "foo"}, "Invalid value \"foo\" for parameter 'timestamp' supplied"),
        ({"run_id": RUN, **POINT, "timestamp": None}, MISSING.format("timestamp")),
        ({"run_id": RUN, **POINT, "step": "foo"}, "Invalid value \"foo\" for parameter 'step' supplied"),
        ({"run_id": RUN, **POINT, "timestamp": -1}, "Invalid value -1 for parameter 'timestamp' supplied"),
        ({"run_id": RUN, **POINT, "key": "a//b"}, "Invalid value \"a//b\" for parameter 'name' supplied"),
        ({"run_id": RUN, **POINT, "model_id": "m" * 37}, "'model_id' exceeds the maximum length"),
        ({"run_id": RUN, **POINT, "dataset_digest": "d"}, "Both dataset_name and dataset_digest must be provided"),
    ],
)
def test_a_bad_metric_is_refused_by_name(sent: dict[str, Any], said: str) -> None:
    assert said in refusal(parse_log_metric, json.dumps(sent).encode())


@pytest.mark.parametrize(("parse", "limit"), [(parse_log_parameter, 6000), (parse_set_tag, 8000)], ids=["param", "tag"])
def test_one_param_or_tag_is_a_batch_of_one(parse: Callable[[bytes], LogBatch], limit: int) -> None:
    def pairs(got: LogBatch) -> dict[str, str]:
        assert got.series is None
        return dict(got.params) | got.tags

    assert pairs(parse(body(key="a", value="1"))) == {"a": "1"}
    assert pairs(parse(body(key="a", value=""))) == pairs(parse(body(key="a"))) == {"a": ""}
    assert parse(json.dumps({"run_uuid": RUN, "key": "a"}).encode()).run_id == RUN
    long = parse(body(key="a", value="é" * (limit + 1)))
    assert (pairs(long), long.truncated) == ({"a": "é" * limit}, 1)
    assert "Invalid value 31 for parameter 'run_id' supplied" in refusal(parse, body(run_id=31, key="a"))
    assert "Invalid value 31 for parameter 'key' supplied" in refusal(parse, body(key=31))
    assert "Invalid value 41 for parameter 'value' supplied" in refusal(parse, body(key="a", value=41))
    assert refusal(parse, body(value="1")) == MISSING.format("key")
    assert refusal(parse, body(run_id=None, key="a")) == MISSING.format("run_id")
    assert "for parameter 'key' supplied: Names may" in refusal(parse, body(key="/a"))
    assert "exceeds the maximum length of 250 characters" in refusal(parse, body(key="k" * 251))


def test_params_and_tags_go_to_their_own_place() -> None:
    assert parse_log_parameter(body(key="a", value="1")) == LogBatch(RUN, params=[("a", "1")])
    assert parse_set_tag(body(key="a", value="1")) == LogBatch(RUN, tags={"a": "1"})
