"""A server for many tests: each works on experiments and runs of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.server import Server


@pytest.fixture(scope="module")
def standing_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """``runstream up`` for all tests of a module."""
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith(("RUNSTREAM_", "MLFLOW_", "PG"))]:
            environment.delenv(name)
        with Server(tmp_path_factory.mktemp("server") / "data") as running:
            yield running
