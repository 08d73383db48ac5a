"""What clients ask before anything else; needs no authentication."""

from __future__ import annotations

from typing import Final

from runstream_services.gateway import render
from runstream_services.gateway.http import Answer, Request
from runstream_services.gateway.service import Gateway

#: The MLflow release whose API this is. The client compares it before it sends spans.
MLFLOW_VERSION: Final = "3.17.2"

_TEXT: Final = b"text/plain; charset=utf-8"
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


async def health(gateway: Gateway, request: Request) -> Answer:
    """``/health``."""
    return Answer(b"OK", content_type=_TEXT)


async def version(gateway: Gateway, request: Request) -> Answer:
    """``/version``."""
    return Answer(MLFLOW_VERSION.encode(), content_type=_TEXT)


async def server_info(gateway: Gateway, request: Request) -> Answer:
    """``server-info``: what this server can do; tolerated by the client when it is absent."""
    return Answer(_SERVER_INFO)
