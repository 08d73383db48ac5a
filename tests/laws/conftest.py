"""Databases for laws: two for the whole session, emptied for each example."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from runstream_services.adapters.postgres import Database
from runstream_services.embedded_postgres import EmbeddedPostgres
from tests.databases import emptied, new_database

Empty = Callable[[], Awaitable[tuple[Database, Database]]]


@pytest.fixture(scope="session")
async def empty_pair(postgres: EmbeddedPostgres) -> Empty:
    """A function that gives two migrated, empty databases, always the same two."""
    pair = (await new_database(postgres), await new_database(postgres))

    async def empty() -> tuple[Database, Database]:
        for database in pair:
            assert await emptied(database)
        return pair

    return empty
