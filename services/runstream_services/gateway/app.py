"""Which endpoint is behind which path (MLflow's REST API, `docs/mlflow-compatibility.md`)."""

from __future__ import annotations

from typing import Final

from runstream_services.gateway import experiments, metrics, probes, runs
from runstream_services.gateway.access import Access
from runstream_services.gateway.http import Endpoint, Front, Handler, Room
from runstream_services.gateway.service import Gateway

#: (method, path below /api/2.0/mlflow and /ajax-api/2.0/mlflow, handler)
MLFLOW: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("POST", "/experiments/create", experiments.create),
    ("GET", "/experiments/get", experiments.get),
    ("GET", "/experiments/get-by-name", experiments.get_by_name),
    ("POST", "/experiments/search", experiments.search),
    ("GET", "/experiments/search", experiments.search_by_query),
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
    ("POST", "/runs/search", runs.search),
    ("GET", "/metrics/get-history", metrics.get_history),
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
    for method, path, handler in MLFLOW:
        for prefix in ("/api/2.0/mlflow", "/ajax-api/2.0/mlflow"):
            exact.setdefault(prefix + path, {})[method] = handler
    return Front(
        access,
        {path: Endpoint(gateway, handlers, room) for path, handlers in exact.items()},
        {path: Endpoint(gateway, {method: handler}, room) for method, path, handler in PROBES},
        OPEN,
    )
