"""Metrics, params and tags come back through MLflow's own client as they were sent, or are refused as in stock."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.e2e.client import run_script
from tests.server import Server


@pytest.fixture(scope="module")
def found(standing_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the client saw, by the functions of ``scripts/points.py``."""
    return run_script("points", standing_server.url, tmp_path_factory.mktemp("points") / "job")


def test_a_param_keeps_its_first_value_and_a_refused_batch_leaves_nothing(found: Any) -> None:
    assert found["conflict"] == {
        "refusals": ["INVALID_PARAMETER_VALUE"] * 4,
        "params": {"rate": "0.1"},
        "metrics": {},
        "tags": [],
    }


def test_nan_the_infinities_and_the_ends_of_the_range_come_back_bit_by_bit(found: Any) -> None:
    sent = {key: as_bits(value) for key, value in found["special"]["sent"].items()}
    assert len(set(sent.values())) == 7
    for latest in found["special"]["latest"]:
        assert {key: as_bits(value) for key, value in latest.items()} == sent
    for histories, step in zip(found["special"]["histories"], (-(2**63), 2**63 - 1), strict=True):
        points = {key: [(step, as_bits(value)) for step, value in column] for key, column in histories.items()}
        assert points == {key: [(step, bits)] for key, bits in sent.items()}


def as_bits(value: float) -> str:
    """A double so that NaN equals itself, and -0.0 is not 0.0."""
    return "nan" if math.isnan(value) else value.hex()


@pytest.mark.parametrize("sent", ["one by one", "in one batch"])
def test_the_latest_metric_is_the_greatest_by_step_then_timestamp_then_value(found: Any, sent: str) -> None:
    latest = found["latest"][sent]
    assert math.isnan(latest.pop("nan counts as zero"))
    assert latest == {
        "step wins": 1.0,
        "then timestamp": 1.0,
        "then value": 2.0,
        "infinity": math.inf,
        "negative steps": 1.0,
    }


def test_a_history_is_ordered_by_timestamp_step_and_value_and_holds_an_equal_point_once(found: Any) -> None:
    assert found["order"]["read"] == sorted(found["order"]["sent"])
    assert len(found["order"]["read"]) == 18
    assert found["order"]["unknown key"] == 0


def test_a_history_of_60_000_points_is_read_in_pages_without_loss(found: Any) -> None:
    assert found["long"] == {"points": 60_000, "equal": True}


def test_text_of_any_alphabet_comes_back_and_what_is_too_long_is_cut(found: Any) -> None:
    for name, limit in (("params", 6000), ("tags", 8000)):
        sent, read = found["text"][name]
        assert read == {key: value[:limit] for key, value in sent.items()}
        assert len(sent["long"]) == limit + 1
