"""A server for many tests: each works on experiments and runs of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.server import Server


@pytest.fixture(scope="module")
def standing_server() -> Iterator[Server]:
    """``runstream up`` for all tests of a module.

    Its data is not below pytest's own directory: as root, PostgreSQL gets there by an ACL entry, which another pytest
    that starts meanwhile takes away (it sets the mode of that directory).
    """
    with TemporaryDirectory(prefix="runstream-e2e-") as directory, pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith(("RUNSTREAM_", "MLFLOW_", "PG"))]:
            environment.delenv(name)
        with Server(Path(directory) / "data") as running:
            yield running
