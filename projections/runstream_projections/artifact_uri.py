"""Where artifacts are: below their experiment's location, or below the server's own place."""

from __future__ import annotations

import posixpath
from urllib.parse import urlsplit, urlunsplit

#: Stands for a run's id; nobody's location holds it (a private-use character).
_RUN = "\ue000"


def artifact_root(experiment_id: int, location: str | None) -> str:
    """Where an experiment's artifacts are: its own location, or the server's proxy."""
    return location if location is not None else f"mlflow-artifacts:/{experiment_id}"


def artifact_uri(root: str, run_id: str) -> str:
    """Where a run's artifacts are: below its experiment's, before any query, as stock joins them."""
    address = urlsplit(root)
    end = f"{run_id}/artifacts"
    path = posixpath.join(address.path, end)
    if not address.scheme:
        return posixpath.join(root, end)
    if not address.path.startswith("/"):  # "file:here": putting the parts together again would make it absolute
        return f"{address.scheme}:{urlunsplit(address._replace(scheme='', path=path))}"
    return urlunsplit(address._replace(path=path))


def around_run_id(root: str) -> tuple[str, str]:
    """What :func:`artifact_uri` puts before and after a run's id."""
    before, _, after = artifact_uri(root, _RUN).rpartition(_RUN + "/artifacts")
    return before, "/artifacts" + after
