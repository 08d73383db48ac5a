"""The database that a process works on: embedded in a data directory, or a PostgreSQL of the user's own."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from runstream_schemas.errors import StartupError, Unavailable
from runstream_services.account import postgres_account
from runstream_services.adapters import postgres_projections
from runstream_services.adapters.postgres import Database, translated
from runstream_services.adapters.postgres_schema import migrate
from runstream_services.data_directory import DataDirectory, DirectoryInUse, socket_directory
from runstream_services.embedded_postgres import DATABASE, PORT, SUPERUSER, EmbeddedPostgres
from runstream_services.settings import Settings

log = structlog.get_logger()

#: A PostgreSQL that we run ourselves may be restarting: how long a start, or the end of a command, waits for it.
PATIENCE_S: Final = 30.0


#: How the SQLSTATEs begin that say that the URL is not right: authorisation, catalogue, schema, what a role may not do,
#: a read-only server or role, an option that does not exist.
_OF_THE_URL: Final = ("28", "3D", "3F", "42", "25006", "22023")


@contextmanager
def _explained(database: Database) -> Iterator[None]:
    """Turn what PostgreSQL says of a wrong URL into :class:`StartupError`: where it is, never the password."""
    if not database.is_given:
        yield
        return
    try:
        yield
    except asyncpg.PostgresError as error:
        if not (error.sqlstate or "").startswith(_OF_THE_URL):
            raise
        said = " ".join(str(error).split())  # with its detail and hint
        raise StartupError(f"the database {database.place} cannot be used: {said}. Check --database-url") from error
    except Unavailable as error:
        raise Unavailable(f"the database {database.place} does not answer: {error}") from error


async def _warn_of_lost_promises(connection: asyncpg.Connection) -> None:
    """Say what a PostgreSQL of the user's own does not promise."""
    rows = await connection.fetch(
        "select name from pg_settings where name in ('fsync', 'full_page_writes') and setting = 'off' order by 1"
    )
    for row in rows:
        log.warning(f"{row['name']} is off: what is acknowledged may be lost when the database's machine fails")


async def prepare(database: Database, *, patience_s: float = 0.0) -> None:
    """Migrate the database and make the projections that are missing, as its owner.

    Raises :class:`Unavailable` when PostgreSQL is away for longer than ``patience_s``.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            with _explained(database), translated("preparing the database"):
                await _prepare(database)
            return
        except Unavailable:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.2)


async def _prepare(database: Database) -> None:
    connection = await database.connect(service=False)
    try:
        await migrate(connection, log_id=UUID(bytes=os.urandom(16), version=4))
        await postgres_projections.ensure_live(connection)
        await _warn_of_lost_promises(connection)
    finally:
        await connection.close()


@asynccontextmanager
async def database_of(
    settings: Settings,
    report: Callable[[str], None],
    on_lost: Callable[[], None] = lambda: None,
    patience_s: Callable[[], float] = lambda: PATIENCE_S,
    address: str = "",
) -> AsyncIterator[tuple[Database, bool]]:
    """The database to work on, running; and whether this process knows itself to be alone on it.

    ``on_lost`` is called when the embedded PostgreSQL ended for good; leaving then raises :class:`StartupError`.
    ``patience_s`` says, on leaving, how long PostgreSQL gets to end cleanly. ``address`` is what others who want the
    data directory are told.
    """
    if settings.database_url is not None:
        yield Database({"dsn": settings.database_url.get_secret_value()}), False
        return
    directory = DataDirectory.open(settings.data, address=address)
    postgres = EmbeddedPostgres(directory, report=report)
    try:
        await postgres.start()
        supervision = asyncio.create_task(postgres.supervise())
        supervision.add_done_callback(lambda _: on_lost())
        try:
            yield Database(postgres.connect_arguments), True
        finally:
            supervision.cancel()
            [ended] = await asyncio.gather(supervision, return_exceptions=True)
        if isinstance(ended, Exception):
            raise ended
    finally:
        await postgres.stop(max(0.0, patience_s()))
        directory.close()


@asynccontextmanager
async def database_for_command(settings: Settings, report: Callable[[str], None]) -> AsyncIterator[Database]:
    """The database of a command: that of the server which serves the data directory, else one started for it.

    Raises :class:`StartupError` where there is no log in it.
    """
    if settings.database_url is None and not (settings.data / "postgres").is_dir():
        raise StartupError(f"there is no Runstream database in {settings.data.resolve()}: name it with --data")
    try:
        async with database_of(settings, report) as (database, _), _with_log(database):
            yield database
    except DirectoryInUse:
        pgdata = settings.data.resolve() / "postgres"
        socket = socket_directory(pgdata, postgres_account(pgdata))
        database = Database({"host": str(socket), "port": PORT, "user": SUPERUSER, "database": DATABASE})
        async with _with_log(database):
            yield database


@asynccontextmanager
async def _with_log(database: Database) -> AsyncIterator[None]:
    """A database that holds a log, and what goes wrong with it in our terms: it may end under any statement."""
    with _explained(database), translated("working on the database"):
        connection = await database.connect(service=False)
        try:
            found = await connection.fetchval("select to_regclass('log_head') is not null")
        finally:
            await connection.close()
        if not found:
            where = f"the database {database.place}" if database.is_given else "the data directory"
            raise StartupError(f"{where} holds no log that this role may see: `runstream up` makes one")
        yield
