"""What wrk itself can do: the same requests against a responder that only counts bytes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.load import Load, run_load
from bench.request import FIRST_NUMBER, metrics_body, new_params_body, post

LOG_BATCH: Final = "/api/2.0/mlflow/runs/log-batch"

#: Title, connections and body of each ceiling: the run id is 32 hex digits as everywhere.
CASES: Final[tuple[tuple[str, int, str], ...]] = (
    ("10 metrics", 20, metrics_body("0" * 32, 10)),
    ("500 metrics", 20, metrics_body("0" * 32, 500)),
    ("10 metrics", 1, metrics_body("0" * 32, 10)),
    ("1,000 metrics", 1, metrics_body("0" * 32, 1000)),
    ("100 params", 20, new_params_body("0" * 32, 100)),
)


@contextmanager
def responder(length: int) -> Iterator[int]:
    """The port of a responder to requests of ``length`` bytes."""
    with subprocess.Popen([sys.executable, "-m", "bench.responder", str(length)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


def ceilings(seconds: float = 2.0) -> list[tuple[str, int, int, Load]]:
    """For each case: title, connections, bytes of a request, and what wrk reached in ``seconds``."""
    found = []
    with tempfile.TemporaryDirectory(prefix="runstream-bench-") as folder:
        for title, connections, body in CASES:
            template = post("127.0.0.1", LOG_BATCH, body)
            with responder(len(template)) as port:
                load = run_load(
                    f"http://127.0.0.1:{port}",
                    [template] * (20 if connections > 1 else 1),
                    connections=connections,
                    seconds=seconds,
                    first=FIRST_NUMBER,
                    folder=Path(folder),
                )
            found.append((title, connections, len(template), load))
    return found
