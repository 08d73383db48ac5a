"""A status in Prometheus' text format. Counters are of this process; gauges of the database are absent without it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from runstream_schemas.status import Process, Status, Stored

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"


def exposition(status: Status) -> bytes:
    """The text."""
    return generate_latest(_Scrape(status))


class _Scrape(Collector):
    """What one look at the server found."""

    #: ``process_*``: memory, processor time, open files; read when asked.
    _operating_system = ProcessCollector(registry=CollectorRegistry())

    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Every family."""
        build = GaugeMetricFamily("runstream_build_info", "The release that is running.", labels=["version"])
        build.add_metric([self._status.version], 1)
        yield build
        yield from _of_process(self._status.process)
        stored = self._status.stored
        yield GaugeMetricFamily("runstream_postgresql_up", "Whether PostgreSQL answers.", value=stored is not None)
        if stored is not None:
            yield from _of_database(stored)
        yield from self._operating_system.collect()


def _of_process(process: Process) -> Iterator[Metric]:
    requests = CounterMetricFamily("runstream_http_requests", "Requests answered, by class of status.", labels=["code"])
    for code, count in process.requests.items():
        requests.add_metric([code], count)
    yield requests
    for name, what, value in (
        ("runstream_log_appended_events", "Events appended to the log.", process.appended_events),
        ("runstream_log_appended_points", "Metric points appended to the log.", process.appended_points),
        ("runstream_log_appends", "Appends, of one or many events each.", process.appends),
        ("runstream_log_append_seconds", "Time spent in appends.", process.append_s),
        ("runstream_log_rejected_events", "Events appended that were rejected.", process.rejected),
        ("runstream_log_dead_letters", "Events that could not be stored.", process.dead_lettered),
        ("runstream_projector_folded_events", "Events folded into the projections.", process.folded_events),
        ("runstream_projector_folds", "Changes of the projections, of many events each.", process.folds),
        ("runstream_projector_fold_seconds", "Time spent in changes of the projections.", process.fold_s),
        ("runstream_truncated_values", "Param and tag values cut to MLflow's lengths.", process.truncated_values),
    ):
        yield CounterMetricFamily(name, what, value=value)
    for name, what, value in (
        ("runstream_http_connections", "Open connections of clients.", process.connections),
        ("runstream_bus_events", "Events that wait for the log.", process.queued_events),
        ("runstream_bus_bytes", "Memory of the events that wait for the log.", process.queued_bytes),
    ):
        yield GaugeMetricFamily(name, what, value=value)


def _of_database(stored: Stored) -> Iterator[Metric]:
    for name, what, value in (
        ("runstream_log_position", "The last position of the log.", stored.log.position),
        ("runstream_rejected_events", "Events of the log that were rejected; counted to 100,000.", stored.rejected),
        ("runstream_waiting_events", "Events of the log that wait for their run; counted to 100,000.", stored.waiting),
        ("runstream_parked_events", "Events that a projection could not fold; counted to 100,000.", stored.parked),
        ("runstream_dead_letters", "What could not become an event; counted to 100,000.", stored.dead_letters),
    ):
        yield GaugeMetricFamily(name, what, value=value)
    labels = ["projection"]
    events = GaugeMetricFamily("runstream_projection_lag_events", "Events it does not hold yet.", labels=labels)
    seconds = GaugeMetricFamily("runstream_projection_lag_seconds", "Age of the first of those.", labels=labels)
    for standing in stored.projections:
        if standing.state == "live" and standing.lag_events is not None and standing.lag_s is not None:
            events.add_metric([standing.name], standing.lag_events)
            seconds.add_metric([standing.name], standing.lag_s)
    yield from (events, seconds)
