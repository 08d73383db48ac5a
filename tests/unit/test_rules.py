"""MLflow's limits and value rules. The tables were checked by hand against mlflow.utils.validation, 3.17.2."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_schemas.errors import RequestError
from runstream_services.gateway import rules

GOOD_KEYS = ["a", "a/b", "loss", ".a", "a.b", "a/..b", "x y", "a:b", "é", "a-b_c.d", " ", "a\n", "日本/語"]
BAD_CHARACTERS = ["a@b", "a(b)", "a%", "a\\b", "a\nb", "a\tb", "a\x00", "a,b", "a\n\n", "😀"]
BAD_PATHS = [
    "",
    ".",
    "..",
    "...",
    "..a",
    "../a",
    "/a",
    "//a",
    "a/",
    "a//b",
    "./a",
    "a/./b",
    "a/../b",
    "a/.",
    "/",
    "a/..",
]


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(RequestError) as caught:
        call()
    assert (caught.value.status, caught.value.code) == (400, "INVALID_PARAMETER_VALUE")
    return caught.value.message


@pytest.mark.parametrize("key", GOOD_KEYS)
def test_a_good_key_is_accepted(key: str) -> None:
    assert rules.key_fault(key) is None
    assert rules.keys_are_good({key})


@pytest.mark.parametrize("key", BAD_CHARACTERS)
def test_a_key_with_other_characters_is_refused(key: str) -> None:
    assert (rules.key_fault(key) or "").startswith("Names may only contain alphanumerics")
    assert not rules.keys_are_good({"a", key})


@pytest.mark.parametrize("key", BAD_PATHS)
def test_a_key_that_resolves_to_another_path_is_refused(key: str) -> None:
    assert (rules.key_fault(key) or "").startswith("Names may be treated as files in certain cases")
    assert not rules.keys_are_good({"a", key})


@given(st.lists(st.sampled_from([".", "..", "/", "a", "é", " ", ":", "\n", "@", "-"]), max_size=8).map("".join))
def test_a_key_is_good_where_stocks_two_conditions_hold(key: str) -> None:
    """The regular expression, and equality with the normal form of the path."""
    normal = posixpath.normpath(key)
    good = re.match(r"^[/\w.\- :]*$", key) is not None and not (
        normal != key or normal == "." or normal.startswith(("..", "/"))
    )
    assert (rules.key_fault(key) is None) == good
    assert rules.keys_are_good({key}) == good


def test_the_memo_of_good_keys_is_bounded() -> None:
    for batch in range(50):
        assert rules.keys_are_good({f"memo {batch} {at}" for at in range(1000)})
        assert len(rules._good_keys) <= rules._MEMO_KEYS
    assert not rules.keys_are_good({f"memo {batch} {at}" for at in range(1000)} | {"/bad"})


def test_a_key_of_250_characters_is_short_enough() -> None:
    assert rules.keys_are_good({"é" * 250})
    assert not rules.keys_are_good({"é" * 251})
    rules.check_metric("é" * 250, 1.0, 0)
    assert refusal(lambda: rules.check_metric("a" * 251, 1.0, 0, "metrics[3]")) == (
        "'Metric name' exceeds the maximum length of 250 characters (metrics[3].name)"
    )
    assert refusal(lambda: rules.check_param_key("a" * 251, "params[3].key")) == (
        "'Param key' exceeds the maximum length of 250 characters (params[3].key)"
    )
    assert refusal(lambda: rules.check_tag_key("a" * 251, "tags[3].key")) == (
        "'tags[3].key' exceeds the maximum length of 250 characters"
    )


def test_a_refused_key_names_its_field_in_stocks_words() -> None:
    assert refusal(lambda: rules.check_metric("a//b", 1.0, 0, "metrics[1]")) == (
        "Invalid value \"a//b\" for parameter 'metrics[1].name' supplied: Names may be treated as files in certain "
        "cases, and must not resolve to other names when treated as such. This name would resolve to 'a/b'"
    )
    assert refusal(lambda: rules.check_metric("a@b", 1.0, 0)).startswith(
        "Invalid value \"a@b\" for parameter 'name' supplied: Names may only contain"
    )
    assert len(refusal(lambda: rules.check_param_key("@" * 100_000, "key"))) < 1000
    assert len(refusal(lambda: rules.check_param_key("a/" * 100_000, "key"))) < 1000


def test_a_timestamp_is_not_negative() -> None:
    rules.check_metric("a", 1.0, 0)
    assert refusal(lambda: rules.check_metric("a", 1.5, -1, "metrics[0]")) == (
        "Invalid value -1 for parameter 'metrics[0].timestamp' supplied: metric 'a' (value=1.5). "
        "Timestamp must be a nonnegative long (64-bit integer) "
    )
    assert "for parameter 'timestamp' supplied" in refusal(lambda: rules.check_metric("a", 1.5, -1))


def test_the_origin_of_a_point_is_bounded() -> None:
    rules.check_origin("m" * 36, "n" * 500, "d" * 36, "metrics[0]")
    rules.check_origin(None, None, None)
    assert "'metrics[0].model_id' exceeds" in refusal(lambda: rules.check_origin("m" * 37, None, None, "metrics[0]"))
    assert "'dataset_name' exceeds" in refusal(lambda: rules.check_origin(None, "n" * 501, None))
    assert "'dataset_digest' exceeds" in refusal(lambda: rules.check_origin(None, None, "d" * 37))


def test_long_values_are_cut_and_counted() -> None:
    pairs = [("a", "x" * 6000), ("b", "é" * 6001), ("c", "")]
    assert rules.cut_values(pairs, 6000) == ([("a", "x" * 6000), ("b", "é" * 6000), ("c", "")], 1)
    assert rules.cut_values(pairs, 8000) == (pairs, 0)


def test_an_experiment_tag_is_not_cut_but_refused() -> None:
    rules.check_experiment_tag("a" * 250, "x" * 20_000)
    assert refusal(lambda: rules.check_experiment_tag("a", "x" * 20_001)) == (
        "'value' exceeds the maximum length of 20000 characters"
    )
    assert "'key' exceeds the maximum length of 250" in refusal(lambda: rules.check_experiment_tag("a" * 251, ""))
    assert "for parameter 'key' supplied" in refusal(lambda: rules.check_experiment_tag("a//b", ""))


@pytest.mark.parametrize(
    ("metrics", "params", "tags", "said"),
    [
        (1001, 0, 0, "at most 1000 metrics. Got 1001 metrics."),
        (0, 101, 0, "at most 100 params. Got 101 params."),
        (0, 0, 101, "at most 100 tags. Got 101 tags."),
        (900, 100, 1, "at most 1000 metrics, params, and tags. Got 1001 metrics, params, and tags."),
    ],
)
def test_a_batch_is_limited(metrics: int, params: int, tags: int, said: str) -> None:
    assert said in refusal(lambda: rules.check_batch_limits(metrics, params, tags))


def test_a_batch_at_its_limits_is_accepted() -> None:
    rules.check_batch_limits(1000, 0, 0)
    rules.check_batch_limits(800, 100, 100)


def test_a_param_key_comes_once() -> None:
    rules.check_params_unique(["a", "b"])
    assert "submitted: ['a', 'b', 'a']. Please ensure" in refusal(
        lambda: rules.check_params_unique(["a", "b", "a", "b", "a"])
    )


@pytest.mark.parametrize("run_id", ["0" * 32, "a", "A-b_c", "a" * 256, "aé"])
def test_a_run_id_has_stocks_form(run_id: str) -> None:
    rules.check_run_id(run_id)


@pytest.mark.parametrize("run_id", ["-a", "_a", "a b", "a/b", "a" * 257, "a\n", "é"])
def test_another_run_id_is_refused(run_id: str) -> None:
    assert "for parameter 'run_id' supplied" in refusal(lambda: rules.check_run_id(run_id))


@pytest.mark.parametrize(("value", "number"), [("0", 0), ("007", 7), ("-1", -1), ("9223372036854775807", 2**63 - 1)])
def test_an_experiment_id_is_a_decimal_number(value: str, number: int) -> None:
    assert rules.experiment_id(value) == number


@pytest.mark.parametrize("value", ["", "x", "1.0", "1_0", " 1", "0x1", "١", "9223372036854775808", "9" * 5000, "1\n"])
def test_another_experiment_id_is_refused(value: str) -> None:
    message = refusal(lambda: rules.experiment_id(value, "experiment_ids[2]"))
    assert message.startswith("Invalid experiment ID ")
    assert "experiment_ids[2]" in message
    assert len(message) < 1000


@pytest.mark.parametrize(
    "location",
    [
        *("/data/x", "relative/dir", "file:///x", "mlflow-artifacts:/a", "dbfs:/a", "C:\\x"),
        *("s3://bucket/a", "gs://b/c?x=1", "wasbs://c@a.blob.core.windows.net/x", "s3://b/" + "x" * 2041),
    ],
)
def test_an_artifact_location_is_accepted(location: str) -> None:
    rules.check_artifact_location(location)


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("runs:/a/b", "cannot be a runs:/ URI"),
        ("s3://b/" + "x" * 2042, "cannot be greater than 2048"),
        ("s3://b/a#frag", "can't include fragments or params"),
        ("/data/a;p", "can't include fragments or params"),
        ("s3://b/a?x=../y", "Invalid query string"),
        ("s3://b/a?x=%252e%252e/y", "Invalid query string"),
        ("http://host/x", "cannot use the 'http' scheme"),
        ("HTTPS://host/x", "cannot use the 'https' scheme"),
        ("ftp:///x", "cannot use the 'ftp' scheme"),
        ("abfss://c@a.dfs.core.windows.net/x", "cannot use the 'abfss' scheme"),
        ("mlflow-artifacts://host/x", "cannot use the 'mlflow-artifacts' scheme"),
        ("s3://[bad/x", "not a URL or path"),
    ],
)
def test_another_artifact_location_is_refused(location: str, said: str) -> None:
    message = refusal(lambda: rules.check_artifact_location(location))
    assert said in message
    assert "artifact_location" in message


def test_an_artifact_location_quoted_again_and_again_is_refused() -> None:
    assert "quoted too often" in refusal(lambda: rules.check_artifact_location("s3://b/a?x=" + "%" + "25" * 20 + "41"))


def test_custom_views_are_limited() -> None:
    rules.check_custom_views(["mlflow.customView.view" + str(at) for at in range(50)] + ["other"] * 9)
    assert "maximum number of custom views" in refusal(
        lambda: rules.check_custom_views("mlflow.customView.view" + str(at) for at in range(51))
    )


@pytest.mark.parametrize(
    ("size", "said"), [(0, "positive integer"), (-5, "positive integer"), (50_001, "It must be at most 50000")]
)
def test_a_search_size_has_a_range(size: int, said: str) -> None:
    message = refusal(lambda: rules.search_size(size))
    assert message.startswith(f"Invalid value {size} for parameter 'max_results' supplied")
    assert said in message


def test_a_search_size_in_range_is_kept() -> None:
    assert [rules.search_size(size) for size in (1, 50_000)] == [1, 50_000]
    assert rules.page_size(2**31 - 1) == 2**31 - 1
