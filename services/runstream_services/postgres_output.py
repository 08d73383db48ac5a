"""PostgreSQL's log: read back, and kept short."""

from __future__ import annotations

import contextlib
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Final

#: The log is cut when it is longer; the part before is kept once, so that both take at most about twice this.
LOG_LIMIT_BYTES: Final = 10 * 1024 * 1024

#: At most so much is read at once.
READ_BYTES: Final = 10 << 20
TAIL_BYTES: Final = 256 << 10

#: Opens a file that may hold what was logged.
PRIVATE: Final = partial(os.open, mode=0o600)


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


def cut_log(log: Path) -> None:
    """Move a log that has grown too long to ``<log>.1``, over the one before.

    Copied and cut, because PostgreSQL keeps the file open (for appending, so that it goes on at the new end). What it
    writes between the two steps is lost.
    """
    if not log.exists() or log.stat().st_size <= LOG_LIMIT_BYTES:
        return
    with contextlib.suppress(OSError), log.open("rb") as full, open(f"{log}.1", "wb", opener=PRIVATE) as kept:
        shutil.copyfileobj(full, kept)  # if the disk is full, room is worth more than old lines
    os.truncate(log, 0)
