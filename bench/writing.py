"""Starts the process that writes while something else is measured, and takes what it reports."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Final

import orjson

from bench.trouble import BenchError
from bench.writer import Job, Written

#: How long the writer may wait for answers at its end: longer than servers take to give up on a request.
END_S: Final = 120


@contextmanager
def writing(job: Job) -> Iterator[list[Written]]:
    """While this is entered the job is done; what was written is in the list when it has ended."""
    done: list[Written] = []
    with subprocess.Popen(
        [sys.executable, "-m", "bench.writer"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(orjson.dumps(asdict(job)).decode() + "\n")
            process.stdin.flush()
            if process.stdout.readline().strip() != "writing":
                raise BenchError("the writer ended before it wrote: its output says why")
            try:
                yield done
            finally:  # what was written counts too when what was measured meanwhile failed
                output, _ = process.communicate(timeout=END_S)
                if process.returncode == 0:
                    done.append(Written(**orjson.loads(output)))
            if not done:
                raise BenchError("the writer failed: its output says why")
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"the writer had no answers within {END_S} s of its end") from error
        finally:
            process.kill()
