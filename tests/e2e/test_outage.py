"""A job of MLflow's own client whose server is stopped and started again loses nothing and doubles nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tests.e2e.client import Script, run_script
from tests.server import Server

#: The client says that an attempt failed once it has waited 0, 2, 4 ... s for the next: so these are an outage of 2 s.
FAILURES = 2
STEPS_BEFORE = 25


def test_a_job_whose_server_is_away_for_a_while_loses_nothing_and_doubles_nothing(
    server: Server, tmp_path: Path
) -> None:
    progress, failures, may_end = tmp_path / "progress", tmp_path / "failures", tmp_path / "may end"
    with Script(
        "through_outage",
        server.url,
        tmp_path / "job",
        progress,
        failures,
        may_end,
        MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR=1,
        MLFLOW_HTTP_REQUEST_BACKOFF_JITTER=0,
    ) as script:
        wait_until(script, lambda: size(progress) >= STEPS_BEFORE)
        assert server.stop() == 0
        wait_until(script, lambda: size(failures) >= FAILURES)
        before = size(progress)
        server.start()
        wait_until(script, lambda: size(progress) > before)
        may_end.touch()
        told = script.found()
    found = run_script("read_back", server.url, tmp_path / "reader", told["experiment"])
    assert set(found) == set(told["runs"])
    for run_id, run in told["runs"].items():
        read = found[run_id]
        assert (read["name"], read["status"]) == (run["name"], "FINISHED")
        assert (read["params"], read["history"]) == (run["params"], run["metrics"])


def size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def wait_until(script: Script, holds: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait for a condition while the script runs."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert not script.ended, script.found()
        assert time.monotonic() < deadline, f"{holds} does not hold after {timeout_s:g} s"
        time.sleep(0.02)
