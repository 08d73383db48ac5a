"""What a load driver asked for and what it was told: the truth that a server is held against afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

#: What became of an attempt, beside an HTTP status: the connection was refused, so that nothing was sent; or it broke,
#: or stayed silent, and nobody knows.
REFUSED: Final = "refused"
NO_ANSWER: Final = "no answer"


class Point(NamedTuple):
    """A metric point; the value as ``repr`` has it, so that NaN equals NaN and -0.0 is not 0.0."""

    step: int
    timestamp: int
    value: str

    @property
    def order(self) -> tuple[int, int, float]:
        """What the latest point has the most of, with NaN as 0 (MLflow's SqlAlchemyStore)."""
        value = float(self.value)
        return self.step, self.timestamp, value if value == value else 0.0  # noqa: PLR0124


@dataclass
class Call:
    """One call as a client makes it: sent once, and again until it is answered with 200.

    ``points`` by key, ``params`` and ``tags``, the datasets that it ``uses`` by name with their context, and the models
    that it ``makes`` with their step are what it asks to store, each in no other call, in ``run``. ``ordered`` are tags
    that later calls of the same writer overwrite. ``answers`` holds what became of each attempt.
    """

    path: str
    body: dict[str, Any]
    run: str = ""
    points: dict[str, list[Point]] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    ordered: dict[str, int] = field(default_factory=dict)
    uses: dict[str, str] = field(default_factory=dict)
    makes: dict[str, int] = field(default_factory=dict)
    answers: list[int | str] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def acknowledged(self) -> bool:
        """It was answered with 200 (or, after an attempt of unknown fate, with "exists already")."""
        return bool(self.answers) and self.answers[-1] == 200

    @property
    def sent(self) -> int:
        """Attempts that may have reached the server."""
        return sum(answer != REFUSED for answer in self.answers)


@dataclass
class Ledger:
    """All calls, and every answer or read that breaks a promise, in words."""

    calls: list[Call] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Calls that were acknowledged, that were never sent, and of unknown fate; and the attempts that failed."""
        acknowledged = sum(call.acknowledged for call in self.calls)
        refused = sum(not call.sent for call in self.calls)
        attempts = [answer for call in self.calls for answer in call.answers if answer != 200]
        return {
            "acknowledged": acknowledged,
            "refused": refused,
            "unknown": len(self.calls) - acknowledged - refused,
            **{f"attempts: {answer}": attempts.count(answer) for answer in sorted(set(attempts), key=str)},
        }
