"""A wire between a service and PostgreSQL that a test can cut at any byte."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from runstream_services.adapters.postgres import Database

#: How libpq and asyncpg name the socket of port 5432 in a directory.
SOCKET = ".s.PGSQL.5432"


class Proxy:
    """Passes on what the connections of ``database`` say, until it is told to cut all of them.

    :meth:`cut_after` cuts when so many more bytes went to the server, or came from it: a cut on the way there means
    that the statement did not take effect, one on the way back that it may have. :meth:`silence` lets nothing more
    through on the connections that are open, and closes none of them; new ones work.
    """

    def __init__(self, database: Database) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="runstream-"))
        self._server_socket = str(Path(database.arguments["host"]) / SOCKET)
        self.database = Database({**database.arguments, "host": str(self._directory)})
        self._open: set[asyncio.StreamWriter] = set()
        self._left: dict[str, int | None] = {"to": None, "from": None}
        self._passing: set[asyncio.Task[None]] = set()
        self.cuts = 0

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_unix_server(self._accept, str(self._directory / SOCKET))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self._cut()
        await asyncio.gather(*self._passing, return_exceptions=True)
        shutil.rmtree(self._directory)

    def cut_after(self, *, to_server: int | None = None, from_server: int | None = None) -> None:
        """Cut every connection after so many further bytes in a direction; None: not for that direction."""
        self._left = {"to": to_server, "from": from_server}

    def silence(self) -> None:
        """Let the connections that are open now die without a word."""
        for task in self._passing:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_unix_connection(self._server_socket)
        self._open |= {writer, server_writer}
        for passing in (self._pass(reader, server_writer, "to"), self._pass(server_reader, writer, "from")):
            task = asyncio.create_task(passing)
            self._passing.add(task)
            task.add_done_callback(self._passing.discard)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str) -> None:
        try:
            while data := await reader.read(65_536):
                left = self._left[direction]
                if left is not None and len(data) > left:
                    writer.write(data[:left])
                    await writer.drain()
                    self.cuts += 1
                    self._left = {"to": None, "from": None}
                    self._cut()
                    return
                if left is not None:
                    self._left[direction] = left - len(data)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    def _cut(self) -> None:
        for writer in self._open:
            # What was written is still sent: the server gets the bytes up to the cut.
            writer.close()
        self._open.clear()
