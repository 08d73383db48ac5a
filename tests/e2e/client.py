"""MLflow's own client, unchanged, in a process of its own, as a training job has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

SCRIPTS = Path(__file__).parent / "scripts"
DEADLINE_S = 150.0


class Script:
    """A script of ``scripts/`` under way; it gets a file to leave its findings in, and then ``arguments``.

    ``directory`` is its own: home, working directory and output are in it. ``settings`` are MLflow's environment
    variables. On leaving its context it is killed, should it still run.
    """

    def __init__(self, name: str, url: str, directory: Path, *arguments: object, **settings: object) -> None:
        self.directory = directory
        self._found = directory / "found.json"
        self._output = directory / "output.txt"
        directory.mkdir()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        environment |= {
            "MLFLOW_TRACKING_URI": url,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "GIT_PYTHON_REFRESH": "quiet",
            "HOME": str(directory),
        }
        environment |= {name: str(value) for name, value in settings.items()}
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, str(SCRIPTS / f"{name}.py"), str(self._found), *map(str, arguments)],
                cwd=directory,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._process.poll() is not None

    def found(self, timeout_s: float = DEADLINE_S) -> Any:
        """Wait for the end; returns what it found. Fails where it ended with an error, showing what it printed."""
        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not done after {timeout_s:g} s: {self._printed()}") from None
        assert status == 0, self._printed()
        return json.loads(self._found.read_text())

    def _printed(self) -> str:
        return self._output.read_text(errors="replace")[-10_000:]


def run_script(name: str, url: str, directory: Path, *arguments: object, **settings: object) -> Any:
    """What a script found, from its start to its end."""
    with Script(name, url, directory, *arguments, **settings) as script:
        return script.found()
