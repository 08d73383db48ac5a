"""``runstream rebuild`` and ``runstream verify`` as an operator runs them, beside a server that runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.server import Server


def runstream(*arguments: str) -> tuple[int, str, str]:
    """(exit status, standard output, standard error) of a command."""
    command = [str(Path(sys.executable).parent / "runstream"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


def test_everything_is_rebuilt_and_verified_beside_a_server(server: Server) -> None:
    run = server.post("runs/create", {"experiment_id": "0"}).json()["run"]["info"]["run_id"]
    metrics = [{"key": "loss", "value": 0.5, "timestamp": 1, "step": step} for step in range(10)]
    assert server.post("runs/log-batch", {"run_id": run, "metrics": metrics}).status_code == 200
    data = ("--data", str(server.data))

    status, said, complaints = runstream("verify", *data)
    assert (status, complaints) == (0, "")
    assert said.splitlines()[0] == "log: 3 events, chain intact"
    assert [line.split(":")[1] for line in said.splitlines()[1:]] == [" equal to the log at position 3"] * 7

    status, said, _ = runstream("rebuild", *data)
    assert (status, said.count(": version 2 is read now")) == (0, 6)
    status, said, _ = runstream("rebuild", "decisions", "--drop", *data)
    assert (status, said.splitlines()[0]) == (0, "decisions: decided again up to position 3, no changes")
    assert said.count("_v1: dropped") == 7

    assert server.post("runs/log-batch", {"run_id": run, "params": [{"key": "p", "value": "v"}]}).status_code == 200
    shown = server.get("runs/get", run_id=run).json()["run"]["data"]
    assert (shown["params"], shown["metrics"][0]["step"]) == ([{"key": "p", "value": "v"}], 9)


@pytest.mark.parametrize("command", ["verify", "rebuild"])
def test_a_projection_that_does_not_exist_is_named_with_those_that_do(tmp_path: Path, command: str) -> None:
    status, said, complaint = runstream(command, "tags", "foo", "--data", str(tmp_path))
    assert (status, said) == (1, "")
    assert complaint == (
        "runstream: there is no projection foo: there are decisions, experiments, runs, params, tags, latest_metrics, "
        "metric_blocks\n"
    )
