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
    """Return what :func:`page_token` was given: nulls, integers, and strings that PostgreSQL can look for.

    Raises 400 for a token of another making.
    """
    try:
        after = orjson.loads(base64.urlsafe_b64decode(token))
    except (ValueError, binascii.Error):
        after = None
    if not isinstance(after, list) or not all(_can_be_ours(part) for part in after):
        raise invalid("Invalid value for parameter 'page_token': it is not one that this server gave.")
    return after


def _can_be_ours(part: object) -> bool:
    return part is None or type(part) is int or (type(part) is str and "\0" not in part)
