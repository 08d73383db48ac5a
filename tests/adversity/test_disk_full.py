"""A disk that fills up: nothing acknowledged is lost, the server ends with a sentence, and goes on with more room."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.adversity.victims import Victim

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]


@pytest.fixture
def small_disk(place: Path) -> Iterator[Path]:
    """A file system of its own, with 64 MiB of it taken away by a file that a test can delete."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=180m,mode=0711", "tmpfs", str(place)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"only who may mount a file system can fill one: {mounted.stderr.decode().strip()}")
    (place / "ballast").write_bytes(bytes(64 << 20))
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_loses_nothing_that_was_acknowledged(small_disk: Path) -> None:
    dice = random.Random(1)
    acknowledged: dict[int, float] = {}
    with Victim(small_disk / "data") as victim:
        run_id = victim.new_run()
        refused = 0
        deadline = time.monotonic() + 120
        with httpx.Client(timeout=30) as client:
            while victim.status() is None and time.monotonic() < deadline:
                step, values = len(acknowledged) + refused, [dice.random() for _ in range(900)]
                metrics = [
                    {"key": f"m{at}", "value": value, "timestamp": step, "step": step}
                    for at, value in enumerate(values)
                ]
                try:
                    body = {"run_id": run_id, "metrics": metrics}
                    answer = client.post(f"{victim.url}/api/2.0/mlflow/runs/log-batch", json=body)
                except httpx.TransportError:
                    refused += 1
                    continue
                if answer.status_code == 200:
                    acknowledged[step] = values[0]
                else:
                    assert answer.status_code == 503, answer.text
                    assert answer.headers["retry-after"] == "10"
                    refused += 1
        assert refused
        assert victim.wait_ended(60) == 1
        assert "No space left on device" in victim.said()
        assert "Traceback" not in victim.said()
        (small_disk / "ballast").unlink()
        victim.start()
        victim.recover(run_id)
        points = victim.get("metrics/get-history", run_id=run_id, metric_key="m0").json()["metrics"]
        found = {point["step"]: point["value"] for point in points}
        assert len(found) == len(points)
        assert acknowledged.items() <= found.items()
        assert len(acknowledged) > 10
