"""Child processes of the bench: start, wait for, measure, stop."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]

from bench.trouble import BenchError

#: How long a server may take to stop before it is killed.
STOP_S: Final = 20


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def child(command: list[str], *, log: Path, extra: dict[str, str], cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``command`` in a session of its own, output in ``log``; at the end the whole session is stopped."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=cwd, env={**os.environ, **extra}, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        stop(process, group=True)


def stop(process: subprocess.Popen[bytes], *, quick: bool = False, group: bool = False) -> None:
    """End a child: SIGTERM (``quick``: SIGINT, PostgreSQL's fast shutdown), and SIGKILL after :data:`STOP_S`.

    With ``group`` what is left of its session is killed too.
    """
    if process.poll() is None:
        process.send_signal(signal.SIGINT if quick else signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if group:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def wait_until(
    ready: Callable[[], bool], *, seconds: float, process: subprocess.Popen[bytes], what: str, log: Path
) -> None:
    """Poll ``ready`` until it is true; raises BenchError with the end of ``log`` when the child ends or time is up."""
    deadline = time.monotonic() + seconds
    while not ready():
        ended = process.poll() is not None
        if ended or time.monotonic() > deadline:
            tail = log.read_text(errors="replace")[-2000:]
            why = f"the process ended with {process.returncode}" if ended else f"not within {seconds:.0f} s"
            raise BenchError(f"waiting for {what}: {why}\n{tail}")
        time.sleep(0.02)


def memory_mb(pid: int) -> float:
    """Proportional set size of a process and its descendants in MB (10^6), without PostgreSQL's processes."""
    total = 0
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    for member in family:
        try:
            if member.name() != "postgres":
                total += _pss_bytes(member.pid)
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            continue
    return total / 1e6


def _pss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


class MemoryWatch:
    """Samples :func:`memory_mb` every second while it is entered; ``peak_mb`` is the largest sample so far."""

    def __init__(self, pid: int) -> None:
        self.peak_mb = 0.0
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(1.0):
            self.peak_mb = max(self.peak_mb, memory_mb(self._pid))
