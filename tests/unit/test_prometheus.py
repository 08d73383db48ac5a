"""The text that Prometheus reads: every name once, of its kind, with the numbers of the status."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from runstream_schemas.status import LogStatus, Process, ProjectionStatus, Status, Stored
from runstream_services.gateway.prometheus import exposition
from runstream_services.observe import LOOKS, Rates

STORED = Stored(
    log=LogStatus(50, 1, "00"),
    projections=[
        ProjectionStatus("runs", 1, "retired", 5, None, None),
        ProjectionStatus("runs", 2, "live", 40, 10, 1.5),
        ProjectionStatus("runs", 3, "building", 4, 46, 9.0),
        ProjectionStatus("tags", 1, "live", 50, 0, 0.0),
    ],
    rejected=3,
    last_rejected=[],
    waiting=4,
    waiting_for=[],
    parked=5,
    first_parked=[],
    dead_letters=6,
    last_dead_letters=[],
)
PROCESS = Process(
    connections=7, queued_events=8, queued_bytes=9, appended_events=10, appended_points=11, appends=12, append_s=1.25,
    rejected=13, dead_lettered=14, folded_events=15, folds=16, fold_s=2.5, truncated_values=17,
    requests={"2xx": 18, "5xx": 19},
)  # fmt: skip


def samples(status: Status) -> dict[tuple[str, ...], float]:
    text = exposition(status).decode()
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert family.documentation
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter")
            assert re.fullmatch(r"(runstream|process)(_[a-z]+)+", sample.name)
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def test_every_number_has_its_name() -> None:
    found = samples(Status(version="1.2.3", process=PROCESS, stored=STORED))
    assert {name: value for name, value in found.items() if name[0].startswith("runstream")} == {
        ("runstream_build_info", "1.2.3"): 1,
        ("runstream_http_requests_total", "2xx"): 18,
        ("runstream_http_requests_total", "5xx"): 19,
        ("runstream_http_connections",): 7,
        ("runstream_bus_events",): 8,
        ("runstream_bus_bytes",): 9,
        ("runstream_log_appended_events_total",): 10,
        ("runstream_log_appended_points_total",): 11,
        ("runstream_log_appends_total",): 12,
        ("runstream_log_append_seconds_total",): 1.25,
        ("runstream_log_rejected_events_total",): 13,
        ("runstream_log_dead_letters_total",): 14,
        ("runstream_projector_folded_events_total",): 15,
        ("runstream_projector_folds_total",): 16,
        ("runstream_projector_fold_seconds_total",): 2.5,
        ("runstream_truncated_values_total",): 17,
        ("runstream_postgresql_up",): 1,
        ("runstream_log_position",): 50,
        ("runstream_rejected_events",): 3,
        ("runstream_waiting_events",): 4,
        ("runstream_parked_events",): 5,
        ("runstream_dead_letters",): 6,
        ("runstream_projection_lag_events", "runs"): 10,
        ("runstream_projection_lag_events", "tags"): 0,
        ("runstream_projection_lag_seconds", "runs"): 1.5,
        ("runstream_projection_lag_seconds", "tags"): 0,
    }
    assert found["process_resident_memory_bytes",] > 1 << 20
    assert found["process_cpu_seconds_total",] > 0


def test_without_a_database_its_gauges_are_absent_and_the_counters_go_on() -> None:
    found = samples(Status(version="1.2.3", process=PROCESS, trouble="away"))
    assert found["runstream_postgresql_up",] == 0
    assert found["runstream_log_appended_events_total",] == 10
    assert not [name for name, *_ in found if "lag" in name or name == "runstream_dead_letters"]


def test_the_manual_lists_every_name() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "operation.md").read_text(encoding="utf-8")
    names = {name for name, *_ in samples(Status(version="1", process=PROCESS, stored=STORED))}
    listed = set(re.findall(r"`(runstream_[a-z_]+)[`{]", manual))
    assert listed == {name for name in names if name.startswith("runstream")}


def test_rates_are_means_over_the_last_looks() -> None:
    rates = Rates()
    assert rates.per_second() == (0.0, 0.0)
    rates.look(100.0, 1_000, 5_000)
    assert rates.per_second() == (0.0, 0.0)
    rates.look(102.0, 1_100, 7_000)
    assert rates.per_second() == (50.0, 1_000.0)
    for second in range(LOOKS):
        rates.look(103.0 + second, 1_100, 7_000)
    assert rates.per_second() == (0.0, 0.0)
    rates.look(103.0 + LOOKS, 1_110, 7_000)
    assert rates.per_second() == (1.0, 0.0)
