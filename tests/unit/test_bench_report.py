"""The pure parts of the bench: what is sent, wrk's output, ratios, verdicts, table; and that its checks can fail."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # bench is run from the repository root and is not installed

from bench.api import Points
from bench.load import Load, parse_result
from bench.measurement import Measurement, failed
from bench.postgres import COMPARED, REQUIRED, Database
from bench.readback import check_equal_params, check_metrics, check_new_params, sent_by
from bench.report import MARK, cell, line, markdown, met, ratio
from bench.request import (
    FIRST_MS,
    FIRST_NUMBER,
    equal_params,
    fill,
    metric_value,
    metrics_body,
    nonce,
    param_key,
    param_value,
    post,
)
from bench.results import BEGIN, END, compare, replace_region
from bench.rows import DISK_ROWS, HISTORY_ROWS, LOAD_ROWS, ROWS, SHAPE_ROWS, named
from bench.targets import TARGETS, Target
from bench.trouble import BenchError

RATE, DISK, HISTORY, SHAPE = LOAD_ROWS[0], DISK_ROWS[0], HISTORY_ROWS[0], SHAPE_ROWS[0]
BOTH = Target(times_mlflow=20, times_fasttrackml=4)
SLOW = {"mlflow": Measurement(10.0), "fasttrackml": Measurement(2.0)}


def load(sent: int = 6, acknowledged: int = 6, wrong: int = 0) -> Load:
    return Load(FIRST_NUMBER, 2.0, sent, acknowledged, acknowledged, wrong, 0, 0, True, 1.0, 2.0, 3.0, 0.1)


class Stored:
    """An Api whose server holds what two keys of two runs were sent, changed by the test."""

    def __init__(self, sent: int = 6, runs: int = 2) -> None:
        self.points = {
            (f"run{run}", f"metric_{index}"): [
                (FIRST_NUMBER + n, FIRST_MS + FIRST_NUMBER + n, metric_value(index, FIRST_NUMBER + n))
                for n in range(run, sent, runs)
            ]
            for run in range(runs)
            for index in range(2)
        }
        self.stored_params: dict[str, dict[str, str]] = {
            f"run{run}": {
                param_key(FIRST_NUMBER + n, i): param_value(nonce(FIRST_NUMBER + n), i)
                for n in range(run, sent, runs)
                for i in range(2)
            }
            for run in range(runs)
        }

    def history(self, run_id: str, key: str) -> Points:
        rows = self.points[run_id, key]
        return Points([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows])

    def params(self, run_id: str) -> dict[str, str]:
        return dict(self.stored_params[run_id])


def read_back(stored: Stored, done: Load) -> list[str]:
    return check_metrics(stored, ["run0", "run1"], 2, sent_by([done], 2), bulk=False)  # type: ignore[arg-type]


def test_values_never_repeat_and_have_17_digits() -> None:
    numbers = [*range(FIRST_NUMBER, FIRST_NUMBER + 20_000), *range(9_780_000, 9_800_000)]
    assert len({nonce(n) for n in numbers}) == len(numbers)
    assert len({metric_value(i, n) for n in numbers[:200] for i in range(100)}) == 20_000
    literals = re.findall(r'"value":0\.(\d+)', fill(metrics_body("r", 1000), FIRST_NUMBER))
    assert len(literals) == 1000
    assert all(len(text) == 17 and text[0] != "0" and text[-1] != "0" for text in literals)


def test_filling_keeps_the_length_that_the_header_says() -> None:
    template = post("h", "/p", metrics_body("r", 10))
    head, _, body = fill(template.decode(), 9_799_999).partition("\r\n\r\n")
    assert f"Content-Length: {len(body)}" in head
    assert "\x01" not in body and "\x02" not in body and "\x03" not in body  # noqa: PT018


def test_wrk_output_is_read() -> None:
    output = (
        "Running 8s test\n"
        'RESULT {"sent": 100, "acknowledged": 97, "in_window": 80, "wrong": 1, "idle_closed": 4, "drained": false, '
        '"p50_us": 1500, "p99_us": 9000, "max_us": 9900, "connect": 0, "read": 1, "write": 0, "timeout": 0}\n'
    )
    found = parse_result(output, first=5, seconds=8.0, cpu_s=0.4)
    assert (found.rate, found.p50_ms, found.p99_ms, found.errors) == (10.0, 1.5, 9.0, 3)
    assert found.wrk_us_per_request == pytest.approx(4000)
    assert found.wrk_share == pytest.approx(0.05)
    with pytest.raises(BenchError, match="unable to connect"):
        parse_result("unable to connect", first=5, seconds=8.0, cpu_s=0.0)


def test_a_ratio_says_how_many_times_better() -> None:
    assert ratio(RATE, Measurement(600.0), Measurement(10.0)) == 60
    assert ratio(DISK, Measurement(80.0), Measurement(400.0)) == 5
    assert ratio(HISTORY, Measurement(0.5), Measurement(10.0)) == 20
    assert ratio(RATE, Measurement(600.0), Measurement(0.0)) is None
    assert ratio(RATE, Measurement(600.0), failed("x")) is None
    assert ratio(RATE, Measurement(600.0), None) is None


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ({"runstream": Measurement(0.5), "mlflow": Measurement(10.0), "fasttrackml": Measurement(2.0)}, True),
        ({"runstream": Measurement(0.5), "mlflow": Measurement(9.9), "fasttrackml": Measurement(2.0)}, False),
        # half of a target is not a target met, and a half that is missed is enough for a no
        ({"runstream": Measurement(0.5), "fasttrackml": Measurement(2.0)}, None),
        ({"runstream": Measurement(0.5), "mlflow": failed("x"), "fasttrackml": Measurement(2.0)}, None),
        ({"runstream": Measurement(0.5), "fasttrackml": Measurement(1.0)}, False),
        ({"mlflow": Measurement(10.0), "fasttrackml": Measurement(2.0)}, None),
        ({"runstream": failed("x"), "mlflow": Measurement(10.0), "fasttrackml": Measurement(2.0)}, False),
        ({"runstream": Measurement(0.1, errors=1), **SLOW}, False),
        ({"runstream": Measurement(0.1, problems=("LOST 1",)), **SLOW}, False),
    ],
)
def test_a_target_is_met_only_when_all_of_it_was_measured(found: dict[str, Measurement], verdict: bool | None) -> None:
    assert met(HISTORY, BOTH, found) is verdict


def test_an_absolute_target_needs_no_other_server() -> None:
    assert met(DISK, Target(at_most=90), {"runstream": Measurement(90.0)}) is True
    assert met(DISK, Target(at_most=90), {"runstream": Measurement(90.7)}) is False


def test_a_search_during_fewer_writes_says_so_and_meets_no_target() -> None:
    slow, enough = ({"writes_per_second": written} for written in (195.9, 196.1))
    assert cell(SHAPE, Measurement(12.0, notes=slow)) == "12.0 ms; only 196/s of 200/s written"
    assert cell(SHAPE, Measurement(12.0, notes=enough)) == "12.0 ms"
    theirs = {"mlflow": Measurement(140.0, notes=slow)}
    assert met(SHAPE, Target(times_mlflow=10), {**theirs, "runstream": Measurement(12.0, notes=enough)}) is True
    assert met(SHAPE, Target(times_mlflow=10), {**theirs, "runstream": Measurement(12.0, notes=slow)}) is False


def test_rows_are_chosen_by_name_or_by_the_beginning_of_names() -> None:
    assert named("all") == list(ROWS)
    assert [row.name for row in named("start,history")] == ["history", "start"]
    assert [row.name for row in named("disk,disk-10")] == ["disk-10", "disk-500", "disk-1000"]
    assert named("100k") == list(SHAPE_ROWS)
    with pytest.raises(BenchError, match="no row named log-1;"):
        named("log-1")


def test_targets_are_of_rows_that_exist() -> None:
    assert set(TARGETS) <= {row.name for row in ROWS}


def test_the_table_says_errors_problems_and_which_ratio_they_touch() -> None:
    found = {
        RATE.name: {
            "mlflow": Measurement(100.0, 150.0, 440.0),
            "fasttrackml": Measurement(1.0, errors=20, notes={"first_wrong_answer": "500 `deadlock`\n detected"}),
            "runstream": Measurement(7000.0, 2.5, 9.75),
        }
    }
    cells = line(RATE, found[RATE.name]).cells
    assert cells[1:] == (
        "100/s; p50 150, p99 440 ms", "1.00/s; 20 errors", "7,000/s; p50 2.5, p99 9.8 ms", "70x", f"7,000x{MARK}",
        "≥ 60x MLflow", "yes",
    )  # fmt: skip
    text = markdown([RATE], found)
    assert "`(!)`" in text
    assert "first wrong answer: 500 'deadlock' detected`" in text
    assert {row.count("|") for row in text.splitlines() if row.startswith("|")} == {9}


def test_a_row_that_nobody_measured_is_dashes() -> None:
    assert set(line(RATE, {}).cells[1:6]) == {"–"}


def test_the_region_is_replaced_and_the_rest_kept() -> None:
    text = f"a\n{BEGIN}\nold\n{END}\nz\n"
    assert replace_region(text, "new") == f"a\n{BEGIN}\n\nnew\n\n{END}\nz\n"
    with pytest.raises(BenchError):
        replace_region("no marks", "new")


def test_settings_that_differ_between_servers_are_said() -> None:
    found = {"mlflow": {"fsync": "on", "max_connections": "100"}, "runstream": {"fsync": "on", "max_connections": "50"}}
    assert compare(found) == ("fsync on", "max_connections (mlflow 100, runstream 50)")


@pytest.mark.parametrize(("name", "value"), [("server_version", "16.14"), ("fsync", "off"), ("shared_buffers", "4GB")])
def test_another_postgresql_is_not_measured(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    shown = {**dict.fromkeys(COMPARED, "x"), **REQUIRED, "server_version": "18.4"}
    monkeypatch.setattr(Database, "query", lambda self, sql: shown[sql.removeprefix("show ")])
    assert Database(Path("/s"), "d").settings()["server_version"] == "18.4"
    shown[name] = value
    with pytest.raises(BenchError, match="not PostgreSQL 18"):
        Database(Path("/s"), "d").settings()


def test_read_back_accepts_what_was_sent_in_any_order() -> None:
    stored = Stored()
    stored.points["run0", "metric_1"].reverse()
    assert read_back(stored, load()) == []


def test_read_back_sees_a_lost_point() -> None:
    stored = Stored()
    stored.points["run1", "metric_0"].pop()
    assert read_back(stored, load()) == ["LOST 1 of 6 acknowledged requests", "1 requests are stored in part"]


def test_read_back_allows_an_unacknowledged_request_to_be_missing() -> None:
    stored = Stored()
    for index in range(2):
        stored.points["run1", f"metric_{index}"].pop()
    assert read_back(stored, load(acknowledged=5)) == []


def test_read_back_sees_changed_doubled_and_foreign_points() -> None:
    changed, doubled, foreign, late = Stored(), Stored(), Stored(), Stored()
    step, ms, value = changed.points["run0", "metric_0"][0]
    changed.points["run0", "metric_0"][0] = (step, ms, value + 2e-16)
    doubled.points["run0", "metric_0"].append((step, ms, value))
    foreign.points["run0", "metric_0"].append(foreign.points["run1", "metric_0"][0])
    late.points["run0", "metric_0"][0] = (step, ms + 1, value)
    assert any("a value is not" in said for said in read_back(changed, load()))
    assert any("stored twice" in said for said in read_back(doubled, load()))
    assert any("was not sent" in said for said in read_back(foreign, load()))
    assert any("a timestamp is not" in said for said in read_back(late, load()))


def test_read_back_of_params_sees_loss_change_and_strangers() -> None:
    def check(stored: Stored) -> list[str]:
        return check_new_params(stored, ["run0", "run1"], 2, sent_by([load()], 2))  # type: ignore[arg-type]

    assert check(Stored()) == []
    lost, changed, stranger = Stored(), Stored(), Stored()
    key = param_key(FIRST_NUMBER, 0)
    del lost.stored_params["run0"][key]
    changed.stored_params["run0"][key] = "other"
    stranger.stored_params["run0"]["odd"] = "1"
    assert check(lost)[0].startswith("LOST 1 of 6")
    assert "is 'other'" in check(changed)[0]
    assert "not sent, as 'odd'" in check(stranger)[0]


def test_read_back_of_equal_params_sees_a_difference() -> None:
    stored = Stored()
    stored.stored_params = {"run0": equal_params(3), "run1": {**equal_params(3), "param_0": "other"}}
    assert check_equal_params(stored, ["run0", "run1"], 3) == ["run 1 has other params than were sent"]  # type: ignore[arg-type]
