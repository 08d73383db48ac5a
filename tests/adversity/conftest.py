"""A server to break."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adversity.victims import Victim


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user can enter, whoever runs the tests and whatever other sessions do to pytest's own."""
    made = Path(tempfile.mkdtemp(prefix="runstream-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def victim(place: Path) -> Iterator[Victim]:
    """A running server."""
    with Victim(place / "data") as running:
        yield running
