"""``runstream rebuild`` and ``runstream verify`` as an operator runs them, beside a server that runs."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from pathlib import Path

import asyncpg
import pytest

from runstream_projections import decision_tables
from runstream_projections.catalogue import PROJECTIONS
from tests.command import RUNSTREAM, runstream
from tests.server import Server

EVERY = (decision_tables.NAME, *PROJECTIONS)


def on_a_terminal(*arguments: str) -> str:
    """What a command leaves on a terminal: each line as it looks after what was drawn over it."""
    ours, its = pty.openpty()
    process = subprocess.Popen([RUNSTREAM, *arguments], stdout=its, stderr=its, env={**os.environ, "TERM": "xterm"})
    os.close(its)
    drawn = b""
    while piece := _read(ours):
        drawn += piece
    os.close(ours)
    assert process.wait(60) == 0, drawn
    lines = [""]
    for part in re.split("(\r\n|\n|\r|\x1b\\[[0-9;?]*[A-Za-z])", drawn.decode()):
        if part in ("\n", "\r\n"):
            lines.append("")
        elif part == "\x1b[2K":  # erase the line
            lines[-1] = ""
        elif part == "\x1b[1A":  # one line up
            lines.pop()
        elif part != "\r" and not part.startswith("\x1b"):
            lines[-1] += part
    return "\n".join(lines)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # the other side is closed
        return b""


def test_everything_is_rebuilt_and_verified_beside_a_server(server: Server) -> None:
    run = server.post("runs/create", {"experiment_id": "0"}).json()["run"]["info"]["run_id"]
    metrics = [{"key": "loss", "value": 0.5, "timestamp": 1, "step": step} for step in range(10)]
    assert server.post("runs/log-batch", {"run_id": run, "metrics": metrics}).status_code == 200
    data = ("--data", str(server.data))

    status, said, complaints = runstream("verify", *data)
    assert (status, complaints) == (0, "")
    assert said.splitlines()[0] == "log: 3 events, chain intact"
    assert [line.split(":")[1] for line in said.splitlines()[1:]] == [" equal to the log at position 3"] * len(EVERY)

    status, said, _ = runstream("rebuild", *data)
    assert (status, said.count(": version 2 is read now")) == (0, len(PROJECTIONS))
    status, said, _ = runstream("rebuild", "decisions", "--drop", *data)
    assert (status, said.splitlines()[0]) == (0, "decisions: decided again up to position 3, no changes")
    assert said.count("_v1: dropped") == len(EVERY)

    assert server.post("runs/log-batch", {"run_id": run, "params": [{"key": "p", "value": "v"}]}).status_code == 200
    shown = server.get("runs/get", run_id=run).json()["run"]["data"]
    assert (shown["params"], shown["metrics"][0]["step"]) == ([{"key": "p", "value": "v"}], 9)


@pytest.mark.parametrize("command", ["verify", "rebuild"])
def test_a_projection_that_does_not_exist_is_named_with_those_that_do(tmp_path: Path, command: str) -> None:
    status, said, complaint = runstream(command, "runs", "foo", "--data", str(tmp_path))
    assert (status, said) == (1, "")
    assert complaint == f"runstream: there is no projection foo: there are {', '.join(EVERY)}\n"


def test_a_terminal_keeps_what_came_of_each_projection(server: Server) -> None:
    for number in range(3):
        assert server.post("experiments/create", {"name": f"e{number}"}).status_code == 200
    said = on_a_terminal("verify", "--data", str(server.data))
    assert said.splitlines()[0] == "log: 4 events, chain intact"
    assert [line.split(":")[1] for line in said.splitlines()[1:]] == [" equal to the log at position 4"] * len(EVERY)
    said = on_a_terminal("rebuild", "--data", str(server.data))
    assert said.splitlines()[:-1] == [f"{name}: version 2 is read now" for name in PROJECTIONS]
    assert "--drop" in said.splitlines()[-1]


async def test_a_log_that_was_changed_is_named_and_nothing_is_advised_that_cannot_help(server: Server) -> None:
    connection = await asyncpg.connect(
        host=str(server.data / "postgres"), user="postgres", database="runstream",
        server_settings={"search_path": "runstream", "session_replication_role": "replica"},
    )  # fmt: skip
    await connection.execute("update event_log set payload = payload || 'x'::bytea where position = 1")
    await connection.close()
    status, said, complaint = runstream("verify", "--data", str(server.data))
    assert status == 1
    assert said.startswith("log: CORRUPT at position 1: ")
    assert said.count("\n") == 1
    assert complaint.count("\n") == 1
    assert "backup" in complaint
    assert "rebuild" not in complaint


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("verify", "runs", "--log-only"), "--log-only checks no projection"),
        (("rebuild", "runs", "--accept-changes"), "--accept-changes goes with `runstream rebuild decisions`"),
        (("rebuild", "--accept-changes"), "--accept-changes goes with `runstream rebuild decisions`"),
        (("up", "--data", ""), "--data: name a directory"),
        (("up", "--port", "70000"), "--port: Input should be less than or equal to 65535"),
        (("up", "--host", "a b"), "--host: 'a b' is neither an address nor a name"),
        (("up", "--token-file", "x", "--no-auth"), "--no-auth: a token file is given"),
        (("up", "--allowed-hosts", "http://x"), "--allowed-hosts: 'http://x' is not host or host:port"),
        (("up", "--trusted-proxies", "proxy"), "--trusted-proxies: 'proxy' does not appear to be"),
        (("token", "add", "a:b"), "a token's name is 1 to 100 letters"),
    ],
)
def test_what_would_be_ignored_or_misread_is_refused(tmp_path: Path, command: tuple[str, ...], said: str) -> None:
    status, nothing, complaint = runstream(*command, RUNSTREAM_DATA=str(tmp_path / "none"))
    assert (status, nothing) == (2, "")
    assert complaint.startswith(f"runstream: {said}")
    assert complaint.count("\n") == 1
    assert not (tmp_path / "none").exists()


def test_a_server_for_others_is_not_started_without_tokens_unless_it_is_told_so(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    status, said, complaint = runstream("up", "--host", "0.0.0.0", *data)
    assert (status, said, complaint.count("\n")) == (1, "", 1)
    for told in ("--host 0.0.0.0", "`runstream token add NAME`", "--no-auth", str(tmp_path / "data" / "tokens")):
        assert told in complaint
    assert not (tmp_path / "data").exists()
    with Server(tmp_path / "data", "--host", "0.0.0.0", "--no-auth") as server:
        assert "listening on 0.0.0.0, for everybody who reaches it" in server.said()
        assert server.post("runs/create", {}).status_code == 200
        assert server.post("runs/create", {}, headers={"host": "10.1.1.1:5000"}).status_code == 200
        refused = server.post("runs/create", {}, headers={"host": "evil.example"})
        assert (refused.status_code, "--allowed-hosts" in refused.json()["message"]) == (403, True)


def test_a_token_is_printed_once_and_its_hash_is_kept(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    status, token, told = runstream("token", "add", "alice", *data)
    assert (status, len(token), token.count("\n")) == (0, 44, 1)
    assert "MLFLOW_TRACKING_TOKEN" in told
    assert "It is the first one" in told
    file = tmp_path / "data" / "tokens"
    assert token.strip() not in file.read_text()
    assert token.strip() not in told

    status, said, complaint = runstream("token", "add", "alice", *data)
    assert (status, said, complaint.count("\n")) == (1, "", 1)
    assert "there is a token named alice already" in complaint
    _, another, told = runstream("token", "add", "bob", RUNSTREAM_TOKEN_FILE=str(file))
    assert another != token
    assert "first" not in told

    assert [line.split()[0] for line in runstream("token", "list", *data)[1].splitlines()] == ["alice", "bob"]


def test_tokens_go_only_where_they_belong(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    for command, named in (
        (("token", "add", "a", "--data", str(tmp_path)), "holds files that are not Runstream's"),
        (("token", "add", "a", "--token-file", str(tmp_path / "thesis.tex" / "x")), "Not a directory"),
        (("token", "remove", "a", "--data", str(tmp_path / "none")), "No such file"),
    ):
        status, said, complaint = runstream(*command)
        assert (status, said, complaint.count("\n")) == (1, "", 1)
        assert named in complaint
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_wrong_variable_is_named() -> None:
    status, _, complaint = runstream("up", RUNSTREAM_LOG_LEVEL="loud")
    assert (status, complaint) == (
        2,
        "runstream: RUNSTREAM_LOG_LEVEL: Input should be 'debug', 'info', 'warning' or 'error'\n",
    )


def test_help_names_the_defaults_the_variables_and_the_projections() -> None:
    _, said, _ = runstream("up", "--help")
    for shown in (
        "./runstream-data",
        "127.0.0.1",
        "5000",
        "RUNSTREAM_DATA;",
        "RUNSTREAM_PORT;",
        "RUNSTREAM_DATABASE_URL",
        "RUNSTREAM_TOKEN_FILE;",
        "RUNSTREAM_NO_AUTH",
        "RUNSTREAM_ALLOWED_HOSTS",
        "RUNSTREAM_TRUSTED_PROXIES",
    ):
        assert shown in " ".join(said.split())
    for command in ("rebuild", "verify"):
        _, said, _ = runstream(command, "--help")
        assert [name for name in EVERY if name not in said] == []


def test_a_directory_without_a_database_is_said(tmp_path: Path) -> None:
    for command in ("verify", "rebuild"):
        status, _, complaint = runstream(command, "--data", str(tmp_path))
        assert (status, complaint) == (
            1,
            f"runstream: there is no Runstream database in {tmp_path}: name it with --data\n",
        )
