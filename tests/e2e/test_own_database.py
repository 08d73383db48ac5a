"""A PostgreSQL of the user's own in place of the embedded one, and what is said where its URL is not right."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import asyncpg
import pytest
from structlog.testing import capture_logs

from runstream_services import embedded_postgres
from runstream_services.adapters.postgres import Database
from runstream_services.data_directory import DataDirectory
from runstream_services.databases import prepare
from runstream_services.embedded_postgres import EmbeddedPostgres
from tests.command import runstream
from tests.pipeline import eventually
from tests.server import Server


class Own:
    """Databases on the tests' PostgreSQL, reached by URLs."""

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        self.arguments = {**postgres.connect_arguments, "database": "postgres"}
        self.pgdata = Path(self.arguments["host"])

    async def run(self, *statements: str) -> None:
        connection = await asyncpg.connect(**self.arguments)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    async def backends(self, database: str) -> dict[int, str]:
        """The last statement of each connection to a database."""
        connection = await asyncpg.connect(**self.arguments)
        rows = await connection.fetch("select pid, query from pg_stat_activity where datname = $1", database)
        await connection.close()
        return {row["pid"]: row["query"] for row in rows}

    def execute(self, *statements: str) -> None:
        asyncio.run(self.run(*statements))

    def url(self, database: str, role: str = "postgres") -> str:
        return f"postgresql://{role}@/{database}?host={quote(str(self.arguments['host']), safe='')}"


@pytest.fixture
def own(postgres: EmbeddedPostgres) -> Own:
    return Own(postgres)


@pytest.fixture
def database(own: Own) -> Iterator[str]:
    """The name of an empty database."""
    name = f"own_{uuid4().hex}"
    own.execute(f"create database {name}")
    yield name
    own.execute(f"drop database {name} with (force)")


def refusal(url: str, *command: str) -> str:
    """What a command says that cannot use its database: one sentence, status 1 or 2, and no traceback."""
    status, said, complaint = runstream(*(command or ("up", "--port", "0")), "--database-url", url)
    assert status in (1, 2), complaint
    assert said == ""
    assert len(complaint.splitlines()) == 1, complaint
    assert "secret" not in complaint
    return complaint


def test_what_was_logged_outlives_the_server(own: Own, database: str, tmp_path: Path) -> None:
    with Server(tmp_path / "none", "--database-url", own.url(database)) as server:
        assert "data in your PostgreSQL" in server.said()
        run_id = server.post("runs/create", {}).json()["run"]["info"]["run_id"]
        metric = {"key": "loss", "value": 0.5, "timestamp": 1, "step": 1}
        assert server.post("runs/log-batch", {"run_id": run_id, "metrics": [metric]}).status_code == 200
        server.kill()
        server.start()
        assert server.get("metrics/get-history", run_id=run_id, metric_key="loss").json() == {"metrics": [metric]}
    assert not (tmp_path / "none").exists()


@pytest.mark.long
def test_a_second_server_on_the_database_says_so(own: Own, database: str, tmp_path: Path) -> None:
    with Server(tmp_path / "none", "--database-url", own.url(database)):
        assert "another Runstream server works on this database" in refusal(own.url(database))


def test_a_url_that_is_not_right_is_said(own: Own, database: str) -> None:
    assert "begins with postgresql://" in refusal("nonsense")
    assert "x at 127.0.0.1:1" in refusal("postgresql://a:secret@127.0.0.1:1/x")
    assert "y at 127.0.0.1:1 " in refusal("postgresql://a:secret@/x?host=127.0.0.1&port=1&database=y")
    for password in ("se/cret", "12/cret", "se?cret", "se#cret"):
        said = refusal(f"postgresql://a:{password}@127.0.0.1:1/x")
        assert "cret" not in said
        assert "%2F" in said
    missing = refusal(own.url("missing"))
    assert "database missing at /" in missing
    assert "does not exist" in missing
    for command in ("verify", "rebuild"):
        assert "does not exist" in refusal(own.url("missing"), command)
    assert "no_such_role" in refusal(own.url(database, "no_such_role"))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://a:secret/x",
        "postgresql://a:secret@127.0.0.1:secret/x",
        "postgresql://a:secret@127.0.0.1:1,127.0.0.2:secret/x",
        "postgresql://a:se@secret@127.0.0.1:1/x",
        "postgresql://a:secret@[::1/x",
        "postgresql://a:secret@127.0.0.1:1/x?sslmode=secret",
        "postgresql://a:secret@127.0.0.1:1/x?port=secret",
        "postgresql://a:secret@127.0.0.1:99999/x",
        "postgresql://a:secret@127.0.0.1:1,127.0.0.1:2/x",
        "postgresql://a:%73ecret%zz@127.0.0.1:1/x",
        "postgresql://a:secret@" + "h" * 300 + "/x",
        "secret",
    ],
)
def test_no_part_of_a_password_is_shown_however_the_url_is_wrong(url: str) -> None:
    for command in ((), ("verify",)):
        refusal(url, *command)


def test_a_database_that_takes_no_writes_is_said(own: Own, database: str) -> None:
    own.execute(f"alter database {database} set default_transaction_read_only = on")
    assert "read-only transaction" in refusal(own.url(database))


def test_an_option_that_does_not_exist_is_said(own: Own, database: str) -> None:
    said = refusal(f"{own.url(database)}&work_mem=much")
    assert "work_mem" in said
    assert "Check --database-url" in said


def test_certificates_that_cannot_be_checked_are_said(own: Own) -> None:
    said = refusal("postgresql://a:secret@127.0.0.1:1/x?sslmode=verify-full")
    assert "certificate" in said


def test_a_role_with_few_connections_is_served_with_those(own: Own, database: str, tmp_path: Path) -> None:
    own.execute("create role narrow login connection limit 9", f"grant create on database {database} to narrow")
    try:
        with Server(tmp_path / "none", "--database-url", own.url(database, "narrow")) as server:
            run_id = server.post("runs/create", {}).json()["run"]["info"]["run_id"]
            assert server.get("runs/get", run_id=run_id).status_code == 200
            assert "Traceback" not in server.said()
    finally:
        own.execute(f"drop database {database} with (force)", f"create database {database}", "drop role narrow")


def test_a_role_that_may_only_read_cannot_verify(own: Own, database: str, tmp_path: Path) -> None:
    with Server(tmp_path / "none", "--database-url", own.url(database)):
        pass
    own.execute("create role reader login", "grant pg_read_all_data to reader")
    try:
        status, said, complaint = runstream("verify", "runs", "--database-url", own.url(database, "reader"))
        assert (status, said) == (1, "log: 1 events, chain intact\n")
        assert "permission denied" in complaint
        assert complaint.count("\n") == 1
    finally:
        own.execute("drop role reader")


async def test_a_start_that_waits_for_another_server_can_be_stopped(own: Own, database: str, tmp_path: Path) -> None:
    with Server(tmp_path / "none", "--database-url", own.url(database)):
        second = Server(tmp_path / "second", "--database-url", own.url(database))
        first_ones = await own.backends(database)
        second.launch()

        async def is_refused_the_lease() -> bool:
            found = await own.backends(database)
            return any(found[pid].startswith("ROLLBACK") for pid in found.keys() - first_ones.keys())

        await eventually("the second server tries to take the lease", is_refused_the_lease)
        began = time.monotonic()
        assert second.stop() == 0
        assert time.monotonic() - began < 5
        assert "is ready" not in second.said()


def test_a_database_without_a_log_is_said(own: Own, database: str) -> None:
    for command in ("verify", "rebuild"):
        assert "holds no log" in refusal(own.url(database), command)


async def test_a_role_that_may_make_roles_gets_the_service_role_into_use(own: Own, database: str) -> None:
    """Since PostgreSQL 16 whoever makes a role is its member and may not become it."""
    await own.run("create role maker login createrole", f"grant create on database {database} to maker")
    await own.run("alter role runstream_service rename to runstream_kept")
    try:
        made = Database({"dsn": own.url(database, "maker")})
        with capture_logs() as said:
            await prepare(made)
        assert said == []
        connection = await made.connect()
        assert await connection.fetchval("select current_user") == "runstream_service"
        await connection.close()
    finally:
        await own.run(f"drop database {database} with (force)", f"create database {database}")
        await own.run("drop role if exists runstream_service, maker")
        await own.run("alter role runstream_kept rename to runstream_service")


def test_a_role_that_may_not_make_a_schema_is_said(own: Own, database: str) -> None:
    own.execute("create role poor login")
    try:
        assert "permission denied for database" in refusal(own.url(database, "poor"))
    finally:
        own.execute("drop role poor")


def test_a_wrong_password_is_said_and_not_shown(own: Own, database: str) -> None:
    rules = own.pgdata / "pg_hba.conf"
    before = rules.read_text()
    own.execute("create role picky login superuser password 'right'")
    rules.write_text(f"local all picky scram-sha-256\n{before}")
    try:
        own.execute("select pg_reload_conf()")
        said = refusal(own.url(database, "picky:secret"))
        assert "password authentication failed for user" in said
        assert f"database {database} at {own.pgdata}" in said
    finally:
        rules.write_text(before)
        own.execute("select pg_reload_conf()", "drop role picky")


async def test_a_database_that_does_not_sync_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(embedded_postgres.SETTINGS, "fsync", "off")
    directory = DataDirectory.open(tmp_path / "data")
    careless = EmbeddedPostgres(directory)
    await careless.start()
    try:
        with capture_logs() as said:
            await prepare(Database(careless.connect_arguments))
        assert [entry["event"].split(":")[0] for entry in said] == ["fsync is off"]
    finally:
        await careless.stop()
        directory.close()
