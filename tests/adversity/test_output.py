"""A server whose output nobody takes, or whose log is on a full disk, goes on serving."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.adversity.victims import Victim, until
from tests.command import RUNSTREAM


@pytest.mark.timeout(120)
@pytest.mark.parametrize("stderr", ["full", "closed"])
def test_a_line_that_cannot_be_written_ends_nothing(place: Path, stderr: str) -> None:
    victim = Victim(place / "data")
    if stderr == "full":
        error = os.open("/dev/full", os.O_WRONLY)
    else:
        reading, error = os.pipe()
        os.close(reading)
    command = [RUNSTREAM, "up", "--data", str(victim.data), "--port", victim.port]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=error) as process:
        os.close(error)
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(b"Runstream is ready")
            victim.url = f"http://127.0.0.1:{victim.port}"
            run_id = victim.new_run()
            rebuilt = [RUNSTREAM, "rebuild", "runs", "--data", str(victim.data)]
            subprocess.run(rebuilt, check=True, capture_output=True, timeout=60)
            assert victim.get("runs/get", run_id=run_id).status_code == 200
            postmaster = victim.postmaster()
            assert postmaster is not None
            postmaster.kill()

            def takes_writes() -> bool:
                assert process.poll() is None, "it ended"
                with contextlib.suppress(httpx.TransportError):
                    return victim.post("runs/set-tag", {"run_id": run_id, "key": "a", "value": "b"}).status_code == 200
                return False

            until(takes_writes, "a write is acknowledged again", 60)
        finally:
            process.terminate()
        assert process.wait(20) == 0
