"""One run with 100,000 metric keys and 100,000 params is written and read by MLflow's own client."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.client import run_script
from tests.server import Server


def test_a_run_with_100_000_keys_takes_more_and_is_read_whole(server: Server, tmp_path: Path) -> None:
    assert run_script("wide", server.url, tmp_path / "job") == {
        "counts": [100_001, 100_001],
        "equal": [True, True],
        "refused": "INVALID_PARAMETER_VALUE",
        "history": [[0, 0.0], [1, 0.5]],
    }
