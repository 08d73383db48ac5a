"""The bench's one error."""

from __future__ import annotations


class BenchError(Exception):
    """The bench cannot go on; the message says why and what to do."""
