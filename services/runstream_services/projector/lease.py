"""Keeps the lease of versions that a command fills, which tells them from what a killed command left behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from runstream_services.adapters import postgres_projections
from runstream_services.adapters.postgres import Database, Line

log = structlog.get_logger()


@asynccontextmanager
async def lease_kept(database: Database, owner: str) -> AsyncIterator[None]:
    """Renew what ``owner`` holds for as long as the context lasts, however long one step takes; then give it up."""
    line = Line(database, service=False, durable=False)
    renewing = asyncio.create_task(_renew(line, owner))
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        with contextlib.suppress(Exception):  # a lease that is not given up runs out by itself
            async with asyncio.timeout(1), line.use("giving up the lease") as connection:
                await postgres_projections.release(connection, owner)
        await line.close()


async def _renew(line: Line, owner: str) -> None:
    while True:
        await asyncio.sleep(postgres_projections.LEASE_S / 3)
        try:
            async with line.use("renewing the lease") as connection:
                await postgres_projections.renew(connection, owner)
        except Exception as error:
            log.warning("the lease was not renewed", reason=str(error))
