"""The arguments of a statement that is put together: values are never written into SQL."""

from __future__ import annotations

import re
from typing import Any, Final

from runstream_projections.projection import Statement

_PARAMETER: Final = re.compile(r"\$(\d+)")


class Arguments:
    """Values by number."""

    def __init__(self) -> None:
        self._values: list[Any] = []

    def add(self, value: Any, kind: str) -> str:
        """SQL that stands for ``value``, of PostgreSQL's type ``kind``.

        ``text::kind`` takes it as text and casts it, for what the driver would not take as it is.
        """
        self._values.append(value)
        return f"${len(self._values)}::{kind}"

    def statement(self, sql: str) -> Statement:
        """The statement ``sql`` with the arguments that it names; PostgreSQL takes no others."""
        numbers = list(dict.fromkeys(int(found) for found in _PARAMETER.findall(sql)))
        new = {number: at for at, number in enumerate(numbers, 1)}
        renumbered = _PARAMETER.sub(lambda found: f"${new[int(found[1])]}", sql)
        return Statement(renumbered, tuple(self._values[number - 1] for number in numbers))
