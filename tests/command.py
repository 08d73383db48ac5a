"""The ``runstream`` command as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

RUNSTREAM = str(Path(sys.executable).parent / "runstream")


def runstream(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """(exit status, standard output, standard error) of a command."""
    done = subprocess.run(
        [RUNSTREAM, *arguments],
        capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **environment},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr
