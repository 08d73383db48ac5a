"""Fields are read by protobuf's JSON rules, and what cannot be read is a 400 that names the field.

The tables were checked by hand against MLflow 3.17.2 (``ParseDict(..., ignore_unknown_fields=True)``, protobuf 7.36.2).
"""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_schemas.errors import RequestError
from runstream_services.gateway.fields import _NEXT_SEPARATOR, Message, double, enum, int32, int64, required, text

DOUBLE = Message({"value": double})
INT64 = Message({"value": int64})
INT32 = Message({"value": int32})
TEXT = Message({"value": text})
STATUS = Message({"value": enum({"RUNNING": 1, "FINISHED": 3})})
NESTED = Message(
    {"run_id": text}, many={"points": Message({"key": text, "dataset_name": text}).read, "names": text, "steps": int64}
)


def read(message: Message, literal: str) -> Any:
    return message.from_body(f'{{"value": {literal}}}'.encode())["value"]


def refusal(message: Message, body: bytes | str) -> str:
    with pytest.raises(RequestError) as caught:
        message.from_body(body.encode() if isinstance(body, str) else body)
    assert caught.value.status == 400
    assert caught.value.code == "INVALID_PARAMETER_VALUE"
    caught.value.message.encode()  # can be sent
    return caught.value.message


@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        ("1", 1.0),
        ("1.5", 1.5),
        ("-0", 0.0),
        ("-0.0", -0.0),
        ("5e-324", 5e-324),
        ("1e-400", 0.0),
        ("123456789012345678901234", 1.2345678901234568e23),
        ('"1.5"', 1.5),
        ('"+1"', 1.0),
        ('"1."', 1.0),
        ('".5"', 0.5),
        ('"-1e3"', -1000.0),
        ('"-0"', -0.0),
        ("true", 1.0),
        ("false", 0.0),
        ('"Infinity"', math.inf),
        ('"-Infinity"', -math.inf),
        ('"+Infinity"', math.inf),
        ('"inf"', math.inf),
        ('"-INF"', -math.inf),
    ],
)
def test_a_double_is_read_as_protobuf_reads_it(literal: str, expected: float) -> None:
    got = read(DOUBLE, literal)
    assert type(got) is float
    assert (got, math.copysign(1.0, got)) == (expected, math.copysign(1.0, expected))


def test_a_double_named_nan_is_nan() -> None:
    assert math.isnan(read(DOUBLE, '"NaN"'))


@pytest.mark.parametrize(
    "literal",
    [
        "1" + "0" * 400,
        *[
            "1e400",
            "-1e400",
            "NaN",
            "Infinity",
            "-Infinity",
            '""',
            '"abc"',
            '"nan"',
            '"0x10"',
            '"1d"',
            "[]",
            "{}",
            "[1]",
        ],
    ],
)
def test_what_protobuf_refuses_as_a_double_is_refused(literal: str) -> None:
    assert "for parameter 'value' supplied: expected a" in refusal(DOUBLE, f'{{"value": {literal}}}')


@pytest.mark.parametrize("literal", ['" 1.5 "', '"1_0"', '"NAN"', '"١"', '"1e400"'])
def test_what_only_python_reads_as_a_double_is_refused(literal: str) -> None:
    """Stock reads these five; no client writes them, and the last would be stored as infinity."""
    assert "for parameter 'value' supplied: expected a" in refusal(DOUBLE, f'{{"value": {literal}}}')


@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        ("5", 5),
        ("5.0", 5),
        ("1e3", 1000),
        ('"5"', 5),
        ('"+5"', 5),
        ('"-5"', -5),
        ('"5.0"', 5),
        ('"5e3"', 5000),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ('"9223372036854775807"', 2**63 - 1),
        ("9.2e18", 9_200_000_000_000_000_000),
    ],
)
def test_a_64_bit_integer_is_read_as_protobuf_reads_it(literal: str, expected: int) -> None:
    got = read(INT64, literal)
    assert type(got) is int
    assert got == expected


@pytest.mark.parametrize(
    "literal",
    [
        *[
            "5.5",
            '"5.5"',
            '"5\\n"',
            '"1_000"',
            '"١"',
            '"0x5"',
            '""',
            "true",
            "[]",
            "{}",
            "1e400",
            '"1e400"',
            '"nan"',
            "NaN",
            "1e19",
            "9.3e18",
        ],
        *["9223372036854775808", "-9223372036854775809", '"9223372036854775808"', '"9223372036854775807.0"'],
        '" 5"',
        '"' + "9" * 1000 + '"',
    ],
)
def test_what_is_no_64_bit_integer_is_refused(literal: str) -> None:
    message = refusal(INT64, f'{{"value": {literal}}}')
    assert "for parameter 'value' supplied: expected a" in message
    assert len(message) < 1000


def test_a_32_bit_integer_has_32_bits() -> None:
    assert [read(INT32, literal) for literal in ("2147483647", "-2147483648", '"7"', "7.0")] == [
        2**31 - 1,
        -(2**31),
        7,
        7,
    ]
    for literal in ("2147483648", "-2147483649", "9223372036854775808"):
        assert "expected a 32-bit integer" in refusal(INT32, f'{{"value": {literal}}}')


@pytest.mark.parametrize("literal", ['"RUNNING"', "1", "1.0", '"1"'])
def test_an_enum_is_read_by_name_and_by_number(literal: str) -> None:
    assert read(STATUS, literal) == "RUNNING"


@pytest.mark.parametrize("literal", ['"running"', '"FOO"', '""', "9", '"9"', "0", "1.5", "true", "[]", "1e400"])
def test_an_unknown_enum_value_is_refused(literal: str) -> None:
    assert "expected one of RUNNING, FINISHED" in refusal(STATUS, f'{{"value": {literal}}}')


@pytest.mark.parametrize("literal", ["5", "1.5", "true", "[]", "{}", '["a"]'])
def test_what_is_no_string_is_refused(literal: str) -> None:
    assert "for parameter 'value' supplied: expected a string" in refusal(TEXT, f'{{"value": {literal}}}')


@pytest.mark.parametrize(
    "literal",
    ['"a\\u0000"', '"\\ud800"', '"\\udc00\\ud800"', '"\\ud800a"', '"é\\udfff"'],
    ids=lambda literal: literal[1:-1],
)
def test_a_string_that_postgresql_cannot_store_is_refused(literal: str) -> None:
    assert "for parameter 'value' supplied: it holds the " in refusal(TEXT, f'{{"value": {literal}}}')


def test_a_surrogate_in_raw_bytes_is_refused() -> None:
    assert "lone surrogate U+D800" in refusal(TEXT, b'{"value": "\xed\xa0\x80"}')


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
def test_every_other_string_is_kept(value: str) -> None:
    assert TEXT.from_body(json.dumps({"value": value}).encode()) == {"value": value}
    assert TEXT.from_body(json.dumps({"value": value}, ensure_ascii=False).encode()) == {"value": value}


def test_the_refused_field_is_named_by_its_path() -> None:
    body = {"points": [{"key": "a"}, {"key": 3}]}
    assert (
        refusal(NESTED, json.dumps(body)) == "Invalid value 3 for parameter 'points[1].key' supplied: expected a string"
    )
    body = {"points": [{"datasetName": "x" * 5000 + "\x00"}]}
    message = refusal(NESTED, json.dumps(body))
    assert "for parameter 'points[0].datasetName' supplied" in message
    assert len(message) < 1000


@pytest.mark.parametrize(
    ("literal", "named"),
    [
        ('{"points": "foo"}', "Invalid value \"foo\" for parameter 'points' supplied: expected an array"),
        ('{"points": {}}', "Invalid value {...} for parameter 'points' supplied: expected an array"),
        ('{"points": [1]}', "Invalid value 1 for parameter 'points[0]' supplied: expected an object"),
        ('{"points": [[]]}', "Invalid value [...] for parameter 'points[0]' supplied: expected an object"),
        ('{"points": [null]}', "Invalid value null for parameter 'points[0]' supplied: null cannot be"),
        ('{"names": ["a", null]}', "Invalid value null for parameter 'names[1]' supplied: null cannot be"),
        ('{"steps": [1, "x"]}', "Invalid value \"x\" for parameter 'steps[1]' supplied: expected an integer"),
    ],
)
def test_arrays_and_objects_are_held_to_their_shape(literal: str, named: str) -> None:
    assert refusal(NESTED, literal).startswith(named)


def test_null_is_unset_and_unknown_fields_are_ignored() -> None:
    got = NESTED.from_body(b'{"run_id": null, "points": null, "other": {"a": ["\\u0000"]}, "names": []}')
    assert got.get("run_id") is None
    assert got.get("points") is None
    assert got["names"] == []
    assert "other" not in got


def test_either_spelling_of_a_field_is_accepted_but_not_both() -> None:
    assert NESTED.from_body(b'{"runId": "a"}') == {"run_id": "a"}
    assert NESTED.from_body(b'{"points": [{"datasetName": "d"}]}') == {"points": [{"dataset_name": "d"}]}
    assert "Request specifies both 'run_id' and 'runId'" in refusal(NESTED, '{"runId": null, "run_id": "a"}')
    message = refusal(NESTED, '{"points": [{"dataset_name": "d", "datasetName": "d"}]}')
    assert "for parameter 'points[0].datasetName' supplied: Request specifies both" in message


def test_of_a_json_key_given_twice_the_last_value_counts() -> None:
    assert NESTED.from_body(b'{"run_id": 5, "run_id": "a"}') == {"run_id": "a"}


@pytest.mark.parametrize("body", [b"", b"  \n", b"null", b"{}", b'"{}"', b'"null"'])
def test_an_empty_body_has_no_fields(body: bytes) -> None:
    assert NESTED.from_body(body) == {}


def test_a_double_encoded_body_is_decoded_again() -> None:
    assert NESTED.from_body(json.dumps('{"run_id": "a"}').encode()) == {"run_id": "a"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_any_unicode_encoding_of_json_is_read(encoding: str) -> None:
    assert TEXT.from_body('{"value": "é"}'.encode(encoding)) == {"value": "é"}


@pytest.mark.parametrize(
    "body",
    [
        *(b'{"run_id": "a"', b"{", b'{"run_id": }', b'{"run_id": "a",}', b'{"run_id": "a\nb"}', b'{"run_id": "\xff"}'),
        *(b"not json", b'"not json"', b"{} {}", b'""{}""', b'{"steps": [' + b"9" * 5000 + b"]}"),
    ],
)
def test_a_body_that_is_no_json_is_refused(body: bytes) -> None:
    assert refusal(NESTED, body).startswith("The request body is not valid JSON: ")


@pytest.mark.parametrize("body", [b"[]", b"5", b'"5"', b"true", b'"\\"{}\\""'])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    assert refusal(NESTED, body).startswith("The request body must be a JSON object, got ")


def test_a_body_nested_too_deeply_is_refused() -> None:
    assert refusal(NESTED, b'{"a":' * 90_000) == "The request body is nested too deeply."


@pytest.mark.parametrize("value", ["{},", "[],", "0,", '"∀",', '{"a":"["},'])
def test_a_body_of_too_many_values_is_refused(value: str) -> None:
    body = f'{{"steps": [{value * 100_000}0]}}'
    escaped = json.dumps(body).replace("{", "\\u007b").replace("[", "\\u005b").replace(",", "\\u002c")
    for sent in (body, json.dumps(body), escaped, body.replace('"steps"', f'"{"," * 200_000}"')):
        assert "has over 100000 commas and brackets" in refusal(NESTED, sent)
    assert "has over 100000 commas and brackets" in refusal(NESTED, body.encode("utf-16"))


def test_100_000_separators_are_read_and_one_more_is_not() -> None:
    begin, rest = '{"unknown": [', "0]}"
    most = 100_000 - begin.count("{") - begin.count("[")
    assert NESTED.from_body(f"{begin}{'0,' * most}{rest}".encode()) == {}
    assert "over 100000 commas" in refusal(NESTED, f"{begin}{'0,' * (most + 1)}{rest}")


def test_an_array_of_50_000_elements_is_read_and_one_of_one_more_is_not() -> None:
    assert len(NESTED.from_body(json.dumps({"steps": [0] * 50_000}).encode())["steps"]) == 50_000
    assert "50001 elements are more than any call may hold" in refusal(NESTED, json.dumps({"steps": [0] * 50_001}))


def test_a_long_value_may_hold_any_number_of_commas_and_brackets() -> None:
    value = '[{,"\\' * 100_000
    assert TEXT.from_body(json.dumps({"value": value}).encode()) == {"value": value}


@given(
    st.recursive(
        st.none() | st.text(st.sampled_from('",[{}]:\\é\n')) | st.floats(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.sampled_from('",[{')), inner),
    )
)
def test_the_separators_of_a_document_are_counted_without_those_in_strings(value: Any) -> None:
    def separators(value: Any) -> int:
        if not isinstance(value, list | dict):
            return 0
        inner = value.values() if isinstance(value, dict) else value
        return max(1, len(value)) + sum(map(separators, inner))

    found = sum(match.lastindex is not None for match in _NEXT_SEPARATOR.finditer(json.dumps(value)))
    assert found == separators(value)


def test_a_query_is_read_by_snake_case_names_and_the_first_value_of_a_single_field() -> None:
    query = [("run_id", "a"), ("runId", "c"), ("run_id", "b"), ("steps", "1"), ("steps", "2.0"), ("other", "\x00")]
    assert NESTED.from_query(query) == {"run_id": "a", "steps": [1, 2]}
    assert NESTED.from_query([]) == {}


def test_a_query_that_cannot_be_read_names_the_field() -> None:
    with pytest.raises(RequestError, match=r"Invalid value \"x\" for parameter 'steps\[1\]' supplied"):
        NESTED.from_query([("steps", "1"), ("steps", "x")])
    with pytest.raises(RequestError, match="for parameter 'run_id' supplied: it holds the lone surrogate U\\+DCFF"):
        NESTED.from_query([("run_id", "\udcff")])


def test_a_required_field_is_there_and_not_empty() -> None:
    assert required({"a": 0.0}, "a") == 0.0
    for got in ({}, {"a": None}, {"a": ""}):
        with pytest.raises(RequestError) as caught:
            required(got, "a", "points[2]")
        assert caught.value.message == (
            "Missing value for required parameter 'points[2].a'. "
            "See the API docs for more information about request parameters."
        )
