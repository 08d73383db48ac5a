"""Connections to PostgreSQL, the service role, and its errors in Runstream's terms."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import asyncpg

from runstream_schemas.errors import (
    CheckpointMoved,
    HeadMoved,
    InvalidEvent,
    OriginMoved,
    RunstreamError,
    StartupError,
    Unavailable,
)

SCHEMA: Final = "runstream"
SERVICE_ROLE: Final = "runstream_service"

#: Whether this session can become the service role. Argument: its name. A superuser can, and who was granted it; since
#: PostgreSQL 16 a member may be without the right to SET ROLE, as whoever made a role and is no superuser is.
MAY_BE_SERVICE: Final = (
    "select coalesce(pg_has_role(current_user, to_regrole($1)::oid, "
    "case when current_setting('server_version_num')::integer < 160000 then 'member' else 'set' end), false)"
)

UNREADABLE_URL: Final = (
    "--database-url cannot be read: write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE, and /, ?, #, @, % and : "
    "of the name and password as %2F, %3F, %23, %40, %25 and %3A"
)

#: What asyncpg says of certificates and of sslmode names files and settings, and nothing else of the URL.
_OF_TLS: Final = re.compile("ssl|certificate", re.IGNORECASE)

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
    """Where the log and the projections live; ``arguments`` are asyncpg's.

    A connection may die without a word (a firewall, a host that is gone): a service that waits for a statement for
    longer than ``statement_s`` takes another connection.
    """

    arguments: dict[str, Any] = field(default_factory=dict)
    statement_s: float = 30.0

    @property
    def is_given(self) -> bool:
        """Whether it is a user's own, given by its URL."""
        return "dsn" in self.arguments

    @property
    def place(self) -> str:
        """Where a given database is, for people: name, host and port as libpq reads its URL, and no password."""
        try:
            address = urlsplit(self.arguments["dsn"])
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            host = query.get("host") or address.hostname or "the local socket"
            name = query.get("dbname") or query.get("database") or address.path.lstrip("/") or "of its user"
            return f"{name} at {host}:{int(query.get('port') or address.port or 5432)}"
        except ValueError:  # where the host was forgotten, the password is taken for a port
            return "of --database-url"

    async def connect(
        self,
        *,
        service: bool = True,
        durable: bool = True,
        statement_s: float | None = None,
        further: Mapping[str, str] | None = None,
    ) -> asyncpg.Connection:
        """Open a connection, as the service role unless the owner is asked for.

        ``durable=False`` is for projections: the log is the truth, so that their commits need no fsync. A statement
        that takes longer than ``statement_s`` ends in a TimeoutError. ``further`` are settings of the session.
        Raises :class:`Unavailable` while the server is away, :class:`StartupError` for a URL that is none.
        """
        settings = {
            "search_path": SCHEMA,
            "application_name": "runstream",
            "synchronous_commit": "on" if durable else "off",
            "timezone": "UTC",
            "jit": "off",
            **(further or {}),
        }
        with translated("connecting to PostgreSQL"):
            try:
                connection = await asyncpg.connect(
                    **self.arguments,
                    timeout=10,
                    command_timeout=statement_s,
                    server_settings=settings,
                    statement_cache_size=256,
                )
            except OSError:
                raise  # a certificate that does not verify is a ValueError too
            except ValueError as error:
                raise _unreadable(error) from None  # the parser's words may quote the password
            try:
                if service and await connection.fetchval(MAY_BE_SERVICE, SERVICE_ROLE):
                    await connection.execute(f"set role {SERVICE_ROLE}")
            except BaseException:
                connection.terminate()
                raise
        return connection


def _unreadable(error: ValueError) -> StartupError:
    if isinstance(error, asyncpg.ClientConfigurationError) and _OF_TLS.search(str(error)):
        return StartupError(f"--database-url cannot be used: {' '.join(str(error).split())}")
    return StartupError(UNREADABLE_URL)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn the driver's errors into the error tree's; what is neither transient nor ours passes unchanged."""
    try:
        yield
    except Exception as error:
        ours = _translation(error, doing)
        if ours is None:
            raise
        raise ours from error


def _translation(error: BaseException, doing: str) -> RunstreamError | None:
    if isinstance(error, asyncpg.PostgresError):
        raised = _RAISED.get(error.sqlstate or "")
        if raised is not None:
            return raised(str(error))
        if (error.sqlstate or "")[:2] in _TRANSIENT_CLASSES:
            return Unavailable(f"{doing}: PostgreSQL says: {error}")
    elif isinstance(error, TimeoutError | asyncpg.InterfaceError | asyncpg.InternalClientError | OSError | EOFError):
        # Internal: the statement met a connection that PostgreSQL is closing, between its last words and the end.
        return Unavailable(f"{doing}: PostgreSQL is away: {error or type(error).__name__}")
    return None


def is_of_the_data(error: Exception) -> bool:
    """Tell an error that the events themselves make from one of the server, which a later try may not meet."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "")[:2] in _DATA_CLASSES
    if isinstance(error, RunstreamError):
        return isinstance(error, InvalidEvent)
    return not isinstance(error, OSError | MemoryError | asyncpg.InterfaceError | asyncpg.InternalClientError)


class Line:
    """One connection that is opened when needed, used by one task at a time, and replaced after a failure."""

    def __init__(
        self,
        database: Database,
        *,
        service: bool = True,
        durable: bool = True,
        on_open: Callable[[asyncpg.Connection], Awaitable[None]] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._service = service
        self._durable = durable
        self._on_open = on_open
        self._connection: asyncpg.Connection | None = None
        self._lock = asyncio.Lock()

    def use(self, doing: str) -> AbstractAsyncContextManager[asyncpg.Connection]:
        """Lend the connection; ``doing`` begins the message of what goes wrong."""
        return _Loan(self, doing)

    async def lend(self, doing: str) -> asyncpg.Connection:
        """Give the connection to one task; :meth:`take_back` must follow, unless this raises."""
        await self._lock.acquire()
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._open(doing)
            return self._connection
        except BaseException:
            self._lock.release()
            raise

    async def _open(self, doing: str) -> asyncpg.Connection:
        connection = await self._database.connect(
            service=self._service,
            durable=self._durable,
            statement_s=self._database.statement_s,
            further=self._settings,
        )
        try:
            if self._on_open is not None:
                with translated(doing):
                    await self._on_open(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    def take_back(self, error: BaseException | None) -> None:
        """End a loan; after an ``error`` the connection is kept only where it is certainly as good as before."""
        try:
            if error is not None and self._connection is not None and _is_doubtful(self._connection, error):
                self._connection.terminate()
                self._connection = None
        finally:
            self._lock.release()

    async def close(self) -> None:
        """Close what is open."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            connection.terminate()


def _is_doubtful(connection: asyncpg.Connection, error: BaseException) -> bool:
    """A cancelled or failed statement may leave a transaction open or an answer unread.

    A connection that failed may not know yet that it is closed, and one that is dead never answers that it cancelled.
    """
    failed = isinstance(error, Unavailable | asyncio.CancelledError)
    return failed or connection.is_in_transaction() or bool(connection.is_closed())


class _Loan:
    """A line's connection in the hands of one task; a class, no generator: the log's writer borrows for each append."""

    __slots__ = ("_doing", "_line")

    def __init__(self, line: Line, doing: str) -> None:
        self._line = line
        self._doing = doing

    async def __aenter__(self) -> asyncpg.Connection:
        return await self._line.lend(self._doing)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        ours = None if error is None else _translation(error, self._doing)
        self._line.take_back(ours or error)
        if ours is not None:
            raise ours from error


class Pool:
    """A bounded set of lines for reads; a caller waits for a free one.

    ``on_open`` looks at each new connection, ``settings`` are those of its session.
    """

    def __init__(
        self,
        database: Database,
        size: int,
        on_open: Callable[[asyncpg.Connection], Awaitable[None]] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._lines = [Line(database, on_open=on_open, settings=settings) for _ in range(size)]
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
