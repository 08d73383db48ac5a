"""What the calls about metric histories ask for: one value and one parse function per endpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from runstream_projections.sampling import PER_BUCKET
from runstream_schemas.errors import invalid
from runstream_services.gateway import rules
from runstream_services.gateway.fields import INT64_MAX, INT64_MIN, Message, int32, int64, required, text
from runstream_services.gateway.requests_log import run_of

Query = Iterable[tuple[str, str]]

#: Of one call, in MLflow's API and in the native one.
MAX_RUNS: Final = 100
#: Points of all runs together, as in stock.
MAX_BULK_RESULTS: Final = 25_000
#: Points of each run, as in stock.
MAX_INTERVAL_RESULTS: Final = 2_500

#: Of one native call: keys, and series (runs by keys).
MAX_KEYS: Final = 100
MAX_SERIES: Final = 1_000
#: Of a sample: it has room for one bucket, and is small beside what it is a sample of.
LEAST_SAMPLE: Final = PER_BUCKET
MAX_SAMPLE: Final = 10_000


class GetMetricHistory(msgspec.Struct, frozen=True):
    """``metrics/get-history``; ``max_results`` None asks for all points."""

    run_id: str
    metric_key: str
    max_results: int | None
    page_token: str | None


class GetMetricHistoryBulk(msgspec.Struct, frozen=True):
    """``metrics/get-history-bulk``; ``max_results`` are of all runs together."""

    run_ids: list[str]
    metric_key: str
    max_results: int


class GetMetricHistoryBulkInterval(msgspec.Struct, frozen=True):
    """``metrics/get-history-bulk-interval``; both steps belong to it, ``max_results`` are of each run."""

    run_ids: list[str]
    metric_key: str
    start_step: int
    end_step: int
    max_results: int


class GetMetricColumns(msgspec.Struct, frozen=True):
    """The native ``metrics/history``: every key of every run.

    ``start_step`` and ``end_step`` are included. With ``max_points`` a series of more points is sampled: its first and
    last point, its least and greatest value, and NaN, are among them.
    """

    run_ids: list[str]
    keys: list[str]
    start_step: int
    end_step: int
    max_points: int | None


_HISTORY = Message({"run_id": text, "run_uuid": text, "metric_key": text, "max_results": int32, "page_token": text})
_BULK = Message({"metric_key": text, "max_results": int64}, many={"run_id": text})
_INTERVAL = Message(
    {"metric_key": text, "start_step": int64, "end_step": int64, "max_results": int64}, many={"run_ids": text}
)
_COLUMNS = Message({"start_step": int64, "end_step": int64, "max_points": int64}, many={"run_ids": text, "keys": text})


def parse_get_metric_history(query: Query) -> GetMetricHistory:
    """The query of ``metrics/get-history``."""
    got = _HISTORY.from_query(query)
    run_id = run_of(got)
    metric_key: str = required(got, "metric_key")
    max_results: int | None = got.get("max_results")
    if max_results is not None:
        rules.page_size(max_results)
    return GetMetricHistory(run_id, metric_key, max_results, got.get("page_token") or None)


def parse_get_metric_history_bulk(query: Query) -> GetMetricHistoryBulk:
    """The query of ``metrics/get-history-bulk``. As in stock, more results than may be asked for are not an error."""
    got = _BULK.from_query(query)
    run_ids = _some(got, "run_id", MAX_RUNS, "GetMetricHistoryBulk")
    if got.get("metric_key") is None:
        raise invalid("GetMetricHistoryBulk request must specify a metric_key.")
    max_results = got.get("max_results", MAX_BULK_RESULTS)
    if max_results < 0:
        raise invalid(f"Invalid value {max_results} for parameter 'max_results' supplied: it must not be negative.")
    return GetMetricHistoryBulk(run_ids, got["metric_key"], min(max_results, MAX_BULK_RESULTS))


def parse_get_metric_history_bulk_interval(query: Query) -> GetMetricHistoryBulkInterval:
    """The query of ``metrics/get-history-bulk-interval``: neither step, or both."""
    got = _INTERVAL.from_query(query)
    run_ids = _some(got, "run_ids", MAX_RUNS, "GetMetricHistoryBulkInterval")
    metric_key: str = required(got, "metric_key")
    max_results = got.get("max_results", MAX_INTERVAL_RESULTS)
    if not 1 <= max_results <= MAX_INTERVAL_RESULTS:
        raise invalid(f"max_results must be between 1 and {MAX_INTERVAL_RESULTS}.")
    if (got.get("start_step") is None) != (got.get("end_step") is None):
        raise invalid("If either start_step or end_step are specified, both must be specified.")
    return GetMetricHistoryBulkInterval(run_ids, metric_key, *_steps(got), max_results)


def parse_get_metric_columns(body: bytes) -> GetMetricColumns:
    """The body of the native ``metrics/history``."""
    return _metric_columns(_COLUMNS.from_body(body))


def parse_get_metric_columns_query(query: Query) -> GetMetricColumns:
    """The query of the native ``metrics/history``: ``run_ids`` and ``keys`` may be there several times."""
    return _metric_columns(_COLUMNS.from_query(query))


def _metric_columns(got: dict[str, Any]) -> GetMetricColumns:
    run_ids = list(dict.fromkeys(_some(got, "run_ids", MAX_RUNS, "The")))
    keys = list(dict.fromkeys(_some(got, "keys", MAX_KEYS, "The")))
    if len(run_ids) * len(keys) > MAX_SERIES:
        raise invalid(
            f"{len(run_ids)} run_ids with {len(keys)} keys are {len(run_ids) * len(keys)} series; "
            f"ask for at most {MAX_SERIES} in one call."
        )
    max_points: int | None = got.get("max_points")
    if max_points is not None and not LEAST_SAMPLE <= max_points <= MAX_SAMPLE:
        raise invalid(f"max_points must be between {LEAST_SAMPLE} and {MAX_SAMPLE}, got {max_points}.")
    return GetMetricColumns(run_ids, keys, *_steps(got), max_points)


def _some(got: Mapping[str, Any], name: str, most: int, request: str) -> list[str]:
    found: list[str] = got.get(name) or []
    if not found:
        raise invalid(f"{request} request must specify at least one value of '{name}'.")
    if len(found) > most:
        raise invalid(f"{request} request cannot specify more than {most} values of '{name}'; it has {len(found)}.")
    return found


def _steps(got: Mapping[str, Any]) -> tuple[int, int]:
    start, end = got.get("start_step"), got.get("end_step")
    start, end = INT64_MIN if start is None else start, INT64_MAX if end is None else end
    if start > end:
        raise invalid(f"end_step must not be less than start_step. Found start_step={start} and end_step={end}.")
    return start, end
