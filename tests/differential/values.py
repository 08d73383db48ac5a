"""Values of each kind of field: those that MLflow takes, and those that it refuses."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st

#: Keys of metrics, params and tags; few, so that calls meet.
KEYS: Final = ["m", "loss", "a.b", "a b", "a/b", "a-b", "é", "1x", "select", "a:b", "m ", "$times:k:250$"]
#: Keys that only tags given at a run's creation can have.
QUOTED_KEYS: Final = ["it's", 'say "x"', "a%", "a@b"]
BAD_KEYS: Final = [
    "",
    "a//b",
    "./a",
    "a/",
    "/a",
    "..",
    "../a",
    ".",
    "a@b",
    "a%",
    "it's",
    "a\n",
    "a\tb",
    "$times:k:251$",
]

TEXTS: Final = [
    "x", "X", "", "a%b", "a_b", "aXb", "%", "_", "it's", 'say "x"', "back\\slash", "é✓", "É", " x ", "1", "0.5",
    "$noise:1:3000$", "$noise:2:3000$",
]  # fmt: skip
LONG_TEXTS: Final = ["$noise:3:6000$", "$noise:4:6001$", "$noise:5:8000$", "$noise:6:8001$", "$times:é:8001$", "a\nb"]

NUMBERS: Final[list[Any]] = [
    0.5,
    1,
    -1.5,
    0,
    -0.0,
    3,
    0.1,
    "1e3",
    "0.5",
    True,
    1e-300,
    1e308,
    "NaN",
    "Infinity",
    "-Infinity",
]

keys: Final = st.sampled_from(KEYS)
texts: Final = st.sampled_from(TEXTS)
long_texts: Final = st.sampled_from(TEXTS * 3 + LONG_TEXTS)
numbers: Final = st.sampled_from(NUMBERS) | st.sampled_from([float("nan"), float("inf"), float("-inf"), "nan", "+5", 7])
moments: Final = st.sampled_from([0, 1, 5, 5, 7, "7", 10.0, 1_700_000_000_000, 2**53 + 1])
steps: Final = st.sampled_from([0, 0, 1, 2, -3, "4", 2.0, 2**62, -(2**63), 2**63 - 1])
models: Final = st.sampled_from(["m-" + "1" * 32, "m-" + "2" * 32])

#: Values that are of no use for a kind, whatever the field.
WRONG: Final[dict[str, list[Any]]] = {
    "text": [5, True, [], {}, "a\x00b", "a\udc80b", 1.5],
    "int64": ["abc", "", 1.5, True, [], {}, 2**63, "-9223372036854775809", "1_000", "٣", "NaN", "1e400", " 5"],
    "int32": ["abc", "", 1.5, True, [], {}, 2**31, "-2147483649", 2**63, "1_000", "NaN"],
    "double": ["abc", "", [], {}, "1_000", "1e400", 10**400, "0x1p3", " 5", "NaN "],
    "enum": ["NOPE", 99, "99", 1.5, True, [], {}, "", 0],
    "objects": ["abc", 5, {}, [None], [5], [[]]],
    "texts": ["abc", 5, {}, [None], [5], [[]], ["a\x00"]],
}

RUN_IDS: Final = st.sampled_from([f"$run:{at}$" for at in range(5)])
EXPERIMENT_IDS: Final = st.sampled_from([f"$experiment:{at}$" for at in range(3)])
BAD_RUN_IDS: Final = st.sampled_from(
    ["", "nosuch", "0" * 32, "a b", "é", "../x", "$times:x:256$", "$times:x:257$", "-x"]
)
BAD_EXPERIMENT_IDS: Final = st.sampled_from(
    [
        "",
        "999999999",
        "abc",
        "-1",
        "1.5",
        "1e3",
        "0x1",
        " 999999999",
        "+0",
        "00",
        "999_999_999",
        "٩٩٩٩٩٩٩٩٩",
        "2147483648",
        "9" * 30,
    ]
)
