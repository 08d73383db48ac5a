"""Which endpoint is behind which path: MLflow's REST API (`docs/mlflow-compatibility.md`) and Runstream's own."""

from __future__ import annotations

from typing import Final

from runstream_services.gateway import (
    events,
    experiments,
    inputs,
    metric_columns,
    metrics,
    openapi,
    positions,
    probes,
    runs,
    search,
    status,
)
from runstream_services.gateway.access import Access
from runstream_services.gateway.http import Endpoint, Front, Handler, Room
from runstream_services.gateway.service import Gateway

#: (method, path below /api/2.0/mlflow and /ajax-api/2.0/mlflow, handler)
MLFLOW: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("POST", "/experiments/create", experiments.create),
    ("GET", "/experiments/get", experiments.get),
    ("GET", "/experiments/get-by-name", experiments.get_by_name),
    ("POST", "/experiments/search", search.search_experiments),
    ("GET", "/experiments/search", search.search_experiments_by_query),
    ("POST", "/experiments/update", experiments.update),
    ("POST", "/experiments/delete", experiments.delete),
    ("POST", "/experiments/restore", experiments.restore),
    ("POST", "/experiments/set-experiment-tag", experiments.set_tag),
    ("POST", "/experiments/delete-experiment-tag", experiments.delete_tag),
    ("POST", "/runs/create", runs.create),
    ("GET", "/runs/get", runs.get),
    ("POST", "/runs/update", runs.update),
    ("POST", "/runs/delete", runs.delete),
    ("POST", "/runs/restore", runs.restore),
    ("POST", "/runs/log-metric", runs.log_metric),
    ("POST", "/runs/log-parameter", runs.log_parameter),
    ("POST", "/runs/set-tag", runs.set_tag),
    ("POST", "/runs/delete-tag", runs.delete_tag),
    ("POST", "/runs/log-batch", runs.log_batch),
    ("POST", "/runs/search", search.search_runs),
    ("POST", "/runs/log-inputs", inputs.log_inputs),
    ("POST", "/runs/outputs", inputs.log_outputs),
    ("POST", "/runs/log-model", inputs.log_model),
    ("GET", "/metrics/get-history", metrics.get_history),
    ("GET", "/metrics/get-history-bulk-interval", metrics.get_history_bulk_interval),
)

#: (method, path below /ajax-api/2.0/mlflow alone, handler): what only the web pages ask for.
AJAX: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("POST", "/experiments/search-datasets", inputs.search_datasets),
    ("GET", "/metrics/get-history-bulk", metrics.get_history_bulk),
)

#: (method, path below /api/runstream/v1, handler): what only Runstream has. Each is described in ``openapi.py``.
NATIVE: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("POST", "/events", events.append),
    ("GET", "/wait", positions.wait),
    ("GET", "/metrics/history", metric_columns.history_by_query),
    ("POST", "/metrics/history", metric_columns.history),
    ("GET", "/status", status.status),
    ("GET", "/openapi.json", openapi.openapi),
)

#: Where Prometheus looks for it by itself.
METRICS: Final = "/metrics"

#: Reads that are POSTs: they can wait for a position, as every GET can.
READS_BY_POST: Final = frozenset(
    {search.search_experiments, search.search_runs, inputs.search_datasets, metric_columns.history}
)

PROBES: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("GET", "/", probes.page),
    ("GET", "/health", probes.health),
    ("GET", "/version", probes.version),
    ("GET", "/api/3.0/mlflow/server-info", probes.server_info),
    ("GET", "/ajax-api/3.0/mlflow/server-info", probes.server_info),
)

#: Answered to everybody, whatever the Host and without a token: they show nothing of what is stored.
OPEN: Final = frozenset({"/", "/health", "/version", "/api/3.0/mlflow/server-info", "/ajax-api/3.0/mlflow/server-info"})


def build(gateway: Gateway, access: Access) -> Front:
    """Return the ASGI application."""
    room = Room()
    exact: dict[str, dict[str, Handler]] = {}
    for prefix, endpoints in (
        ("/api/2.0/mlflow", MLFLOW),
        ("/ajax-api/2.0/mlflow", MLFLOW + AJAX),
        (openapi.PREFIX, NATIVE),
    ):
        for method, path, handler in endpoints:
            exact.setdefault(prefix + path, {})[method] = _reading(method, handler)
    exact[METRICS] = {"GET": status.metrics}
    return Front(
        access,
        {path: Endpoint(gateway, handlers, room) for path, handlers in exact.items()},
        {path: Endpoint(gateway, {method: handler}, room) for method, path, handler in PROBES},
        OPEN,
        gateway.answers,
    )


def _reading(method: str, handler: Handler) -> Handler:
    return positions.after_position(handler) if method == "GET" or handler in READS_BY_POST else handler
