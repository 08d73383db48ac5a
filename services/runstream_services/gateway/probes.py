"""What clients and people ask before anything else; needs no authentication."""

from __future__ import annotations

from typing import Final

from runstream_services.gateway import render
from runstream_services.gateway.http import Answer, Request
from runstream_services.gateway.service import Gateway

#: The MLflow release whose API this is. The client compares it before it sends spans.
MLFLOW_VERSION: Final = "3.17.2"

_TEXT: Final = b"text/plain; charset=utf-8"
_PAGE: Final = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Runstream</title>
<h1>Runstream is running</h1>
<p>It takes what an MLflow client logs, once that is told of this address:
<pre>mlflow.set_tracking_uri("<span>...</span>")</pre>
<p>Web pages of experiments and runs, which the links that the client prints lead to, come with a later release.
Until then, read runs with <code>mlflow.search_runs()</code> and <code>MlflowClient().get_metric_history(...)</code>.
<script>document.querySelector("span").textContent = location.origin</script>
"""
_SERVER_INFO: Final = render.dump(
    {
        "store_type": "SqlStore",
        "workspaces_enabled": False,
        "trace_archival_enabled": False,
        "multipart_uploads_enabled": False,
        "multipart_downloads_enabled": False,
        "presigned_upload_run_id_supported": False,
        "presigned_upload_model_id_supported": False,
        "features_enabled": {"gateway": False},
    }
)


async def page(gateway: Gateway, request: Request) -> Answer:
    """``/``: where the links lead that MLflow's client prints, their place in a part that a browser does not send."""
    return Answer(_PAGE, content_type=b"text/html; charset=utf-8")


async def health(gateway: Gateway, request: Request) -> Answer:
    """``/health``."""
    return Answer(b"OK", content_type=_TEXT)


async def version(gateway: Gateway, request: Request) -> Answer:
    """``/version``."""
    return Answer(MLFLOW_VERSION.encode(), content_type=_TEXT)


async def server_info(gateway: Gateway, request: Request) -> Answer:
    """``server-info``: what this server can do; tolerated by the client when it is absent."""
    return Answer(_SERVER_INFO)
