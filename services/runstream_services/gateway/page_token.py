"""Page tokens: opaque to clients, they say what a page ends with."""

from __future__ import annotations

import base64
import binascii

import orjson
from runstream_schemas.errors import invalid


def page_token(after: list[object]) -> str:
    """Return a token for what a page ends with."""
    return base64.urlsafe_b64encode(orjson.dumps(after)).decode()


def read_token(token: str) -> list[object]:
    """Return what :func:`page_token` was given. Raises 400 for a token of another making."""
    try:
        after = orjson.loads(base64.urlsafe_b64decode(token))
    except (ValueError, binascii.Error):
        after = None
    if not isinstance(after, list):
        raise invalid("Invalid value for parameter 'page_token': it is not one that this server gave.")
    return after
