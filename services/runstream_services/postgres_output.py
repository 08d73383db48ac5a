"""What PostgreSQL wrote to its log, read back."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

#: At most so much is read at once.
READ_BYTES: Final = 10 << 20
TAIL_BYTES: Final = 256 << 10


def read_lines(log: Path, position: int) -> tuple[list[str], int]:
    """The whole lines of a log from a position on, and the position after them."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(position)
        whole, newline, _ = file.read(READ_BYTES).rpartition(b"\n")
        return whole.decode(errors="replace").splitlines(), position + len(whole) + len(newline)
    return [], position


def recovers_from_crash(log: Path) -> bool:
    """Whether PostgreSQL restarts itself, because one of its processes crashed, and is not ready again.

    PostgreSQL 18 never ends a fast shutdown (SIGINT) that it was asked for in this state: it waits for helpers that it
    does not tell to leave. An immediate one (SIGQUIT) loses nothing, since there is recovery to do either way.
    """
    size = log.stat().st_size if log.exists() else 0
    for line in reversed(read_lines(log, max(0, size - TAIL_BYTES))[0]):
        if line.endswith("database system is ready to accept connections"):
            return False
        if line.endswith("all server processes terminated; reinitializing"):
            return True
    return False
