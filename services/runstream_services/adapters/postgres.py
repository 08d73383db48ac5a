"""Connections to PostgreSQL, the service role, and its errors in Runstream's terms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

from runstream_schemas.errors import CheckpointMoved, HeadMoved, InvalidEvent, OriginMoved, RunstreamError, Unavailable

SCHEMA: Final = "runstream"
SERVICE_ROLE: Final = "runstream_service"

#: Whether this session can become the service role. Argument: its name. A superuser can, and who was granted it.
MAY_BE_SERVICE: Final = "select coalesce(pg_has_role(current_user, to_regrole($1)::oid, 'member'), false)"

#: Our own SQLSTATEs, raised by the functions of the migrations.
_RAISED: Final[dict[str, type[RunstreamError]]] = {
    "RS001": HeadMoved,
    "RS002": OriginMoved,
    "RS003": CheckpointMoved,
}

#: SQLSTATE classes that a later try may not meet: connection, resources, operator intervention, rollback, lock.
_TRANSIENT_CLASSES: Final = ("08", "53", "57", "40", "55")

#: SQLSTATE classes that blame the data: its number of rows, the data itself, constraints, views' checks, and program
#: limits, such as an index row's size.
_DATA_CLASSES: Final = ("21", "22", "23", "44", "54")


@dataclass(frozen=True, slots=True)
class Database:
    """Where the log and the projections live; ``arguments`` are asyncpg's."""

    arguments: dict[str, Any] = field(default_factory=dict)

    async def connect(self, *, service: bool = True, durable: bool = True) -> asyncpg.Connection:
        """Open a connection, as the service role unless the owner is asked for.

        ``durable=False`` is for projections: the log is the truth, so that their commits need no fsync. Raises
        :class:`Unavailable` while the server is away.
        """
        settings = {
            "search_path": SCHEMA,
            "application_name": "runstream",
            "synchronous_commit": "on" if durable else "off",
            "timezone": "UTC",
            "jit": "off",
        }
        with translated("connecting to PostgreSQL"):
            connection = await asyncpg.connect(
                **self.arguments, timeout=10, server_settings=settings, statement_cache_size=256
            )
            try:
                if service and await connection.fetchval(MAY_BE_SERVICE, SERVICE_ROLE):
                    await connection.execute(f"set role {SERVICE_ROLE}")
            except BaseException:
                connection.terminate()
                raise
        return connection


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn the driver's errors into the error tree's; what is neither transient nor ours passes unchanged."""
    try:
        yield
    except asyncpg.PostgresError as error:
        raised = _RAISED.get(error.sqlstate or "")
        if raised is not None:
            raise raised(str(error)) from error
        if (error.sqlstate or "")[:2] in _TRANSIENT_CLASSES:
            raise Unavailable(f"{doing}: PostgreSQL says: {error}") from error
        raise
    except (TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, EOFError) as error:
        # Internal: the statement met a connection that PostgreSQL is closing, between its last words and the end.
        raise Unavailable(f"{doing}: PostgreSQL is away: {error or type(error).__name__}") from error


def is_of_the_data(error: Exception) -> bool:
    """Tell an error that the events themselves make from one of the server, which a later try may not meet."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "")[:2] in _DATA_CLASSES
    if isinstance(error, RunstreamError):
        return isinstance(error, InvalidEvent)
    return not isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError)


class Line:
    """One connection that is opened when needed, used by one task at a time, and replaced after a failure."""

    def __init__(
        self,
        database: Database,
        *,
        service: bool = True,
        durable: bool = True,
        on_open: Callable[[asyncpg.Connection], Awaitable[None]] | None = None,
    ) -> None:
        self._database = database
        self._service = service
        self._durable = durable
        self._on_open = on_open
        self._connection: asyncpg.Connection | None = None
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def use(self, doing: str) -> AsyncIterator[asyncpg.Connection]:
        """Lend the connection; ``doing`` begins the message of what goes wrong."""
        async with self._lock:
            connection = self._connection
            opened = connection is None or connection.is_closed()
            if connection is None or opened:
                connection = self._connection = await self._database.connect(
                    service=self._service, durable=self._durable
                )
            try:
                with translated(doing):
                    if opened and self._on_open is not None:
                        await self._on_open(connection)
                    yield connection
            except BaseException as error:
                # A cancelled or failed statement may leave a transaction open or an answer unread; a connection that
                # failed may not know yet that it is closed.
                if isinstance(error, Unavailable) or connection.is_in_transaction() or connection.is_closed():
                    self._connection = None
                    connection.terminate()
                raise

    async def close(self) -> None:
        """Close what is open."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            connection.terminate()


class Pool:
    """A bounded set of lines for reads; a caller waits for a free one. ``on_open`` looks at each new connection."""

    def __init__(
        self, database: Database, size: int, on_open: Callable[[asyncpg.Connection], Awaitable[None]] | None = None
    ) -> None:
        self._lines = [Line(database, on_open=on_open) for _ in range(size)]
        self._free: asyncio.LifoQueue[Line] = asyncio.LifoQueue()
        for line in self._lines:
            self._free.put_nowait(line)

    @asynccontextmanager
    async def use(self, doing: str) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection, the most recently used one first."""
        line = await self._free.get()
        try:
            async with line.use(doing) as connection:
                yield connection
        finally:
            self._free.put_nowait(line)

    async def close(self) -> None:
        """Close every connection."""
        for line in self._lines:
            await line.close()
