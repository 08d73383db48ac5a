"""Endpoints that say how the server is doing."""

from __future__ import annotations

import asyncio
from typing import Final

import asyncpg
import msgspec

from runstream import __version__
from runstream_schemas.errors import Transient
from runstream_schemas.status import Status
from runstream_services.adapters.postgres_status import read_status
from runstream_services.gateway.http import Answer, Request
from runstream_services.gateway.prometheus import CONTENT_TYPE, exposition
from runstream_services.gateway.service import Gateway

#: How long PostgreSQL may take; then the answer says that it does not answer.
PATIENCE_S: Final = 5.0

_encode: Final = msgspec.json.Encoder().encode


async def status(gateway: Gateway, request: Request) -> Answer:
    """``GET /status``: 200 also while PostgreSQL is away, which it says."""
    return Answer(_encode(await _look(gateway)))


async def metrics(gateway: Gateway, request: Request) -> Answer:
    """``GET /metrics``: the same in Prometheus' text format."""
    return Answer(exposition(await _look(gateway)), content_type=CONTENT_TYPE)


async def _look(gateway: Gateway) -> Status:
    process = gateway.process()
    try:
        async with asyncio.timeout(PATIENCE_S), gateway.reading("reading the status") as connection:
            stored = await read_status(connection, 1_000 * gateway.now_ms())
    except TimeoutError:
        trouble = f"PostgreSQL did not answer within {PATIENCE_S:g} s"
    except (Transient, asyncpg.UndefinedTableError) as error:  # a version that was read may just have been dropped
        trouble = str(error)
    else:
        return Status(version=__version__, process=process, stored=stored)
    return Status(version=__version__, process=process, trouble=trouble)
