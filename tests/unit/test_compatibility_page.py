"""The page on MLflow compatibility says what the router and the differential test say."""

from __future__ import annotations

import subprocess
import sys


def test_the_page_is_what_the_generator_makes_of_the_router_and_the_differences() -> None:
    # In a process of its own: importing the stock server warns, and a warning is an error here.
    command = [sys.executable, "-m", "tests.compatibility", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
