"""The environment of the other servers, apart from Runstream's own: their requirements may conflict with ours."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from bench.trouble import BenchError


def others_venv(path: Path, pyproject: Path) -> Path:
    """``path``, made with the ``bench`` extra of ``pyproject`` when it does not exist yet."""
    if (path / "bin" / "fml").exists() and (path / "bin" / "mlflow").exists():
        return path
    extra = tomllib.loads(pyproject.read_text())["project"]["optional-dependencies"]["bench"]
    print(f"installing {', '.join(extra)} in {path}", flush=True)
    _run([sys.executable, "-m", "venv", str(path)])
    _run([str(path / "bin" / "pip"), "install", "--quiet", *extra])
    return path


def version(venv: Path, distribution: str) -> str:
    """The installed version of ``distribution`` in ``venv``."""
    code = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
    return _run([str(venv / "bin" / "python"), "-c", code, distribution]).strip()


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(command)}: {done.stderr.strip()[-2000:]}")
    return done.stdout
