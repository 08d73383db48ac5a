"""Histories of calls on both servers, compared answer by answer."""

from __future__ import annotations

from collections import Counter
from difflib import unified_diff
from typing import Any, Final

from tests.differential.answers import comparable
from tests.differential.calls import Call
from tests.differential.differences import DIFFERENCES, Case, splits
from tests.differential.marks import filled
from tests.differential.servers import Answer, Server

NO_RUN: Final = "0" * 32
NO_EXPERIMENT: Final = "999999999"

#: Calls that make something, and what.
_MAKES: Final = {"experiments/create": "experiment", "runs/create": "run"}


class Pair:
    """Stock MLflow and Runstream. ``drawn`` counts what calls were and what they were answered."""

    def __init__(self, stock: Server, ours: Server) -> None:
        self.stock = stock
        self.ours = ours
        self.drawn: Counter[str] = Counter()
        self._made = 0
        self._histories = 0
        self._victims = 0
        for server in (stock, ours):
            server.know("experiment default", "0")
            limbo = server.answer(Call("POST", "experiments/create", {}), {"name": "limbo"})
            server.know("experiment limbo", _given_id("experiment", limbo))

    def history(self) -> History:
        """A new history: it knows no runs and no experiments of others."""
        self._histories += 1
        return History(self, f"h{self._histories}-")

    def make_victims(self) -> None:
        """Make an experiment and a run for one call, after which the servers may not have the same in them."""
        self._victims += 1
        for server in (self.stock, self.ours):
            name = {"name": f"victim {self._victims}"}
            made = server.answer(Call("POST", "experiments/create", {}), name)
            server.know("experiment victim", _given_id("experiment", made))
            run = {"experiment_id": server.ids["experiment victim"], "run_name": "victim", "start_time": 1}
            server.know("run victim", _given_id("run", server.answer(Call("POST", "runs/create", {}), run)))

    def name_made(self, kind: str, stock: Answer, ours: Answer) -> str:
        """A name for what both have made."""
        self._made += 1
        name = f"{kind} {self._made}"
        self.stock.know(name, _given_id(kind, stock))
        self.ours.know(name, _given_id(kind, ours))
        return name


class History:
    """Calls, one after the other, and the runs and experiments that they made.

    What one server may apply and the other not, or in part, is sent to victims: a run and an experiment that no other
    call looks at.
    """

    def __init__(self, pair: Pair, prefix: str) -> None:
        self._pair = pair
        self._prefix = prefix
        self._sent = 0
        self._made: dict[str, list[str]] = {"run": [], "experiment": []}

    def send(self, call: Call) -> None:
        """Send ``call`` to both; raises AssertionError where the answers differ, and not on purpose."""
        self._sent += 1
        pair = self._pair
        spoilt = splits(Case(call, filled(call.fields, lambda word, more: word + more)))
        if spoilt:
            pair.make_victims()
        our_fields, stock_fields = (self._filled(server, call, spoilt) for server in (pair.ours, pair.stock))
        pair.ours.begin()
        ours = pair.ours.answer(call, our_fields)
        pair.stock.begin()
        stock = pair.stock.answer(call, stock_fields)
        pair.drawn.update(
            [f"row {call.row}", f"answer {call.row}: {ours.outcome}", f"outcome {ours.outcome}", *call.drawn]
        )
        kind = _MAKES.get(call.path)
        if kind and not spoilt and stock.status == ours.status == 200:
            name = pair.name_made(kind, stock, ours)
            if "$limbo$" not in call.fields.values():
                self._made[kind].append(name)
        texts = [
            answer.outcome
            if not stock.status == ours.status == 200 or spoilt
            else comparable(server, call, fields, answer)
            for server, fields, answer in ((pair.stock, stock_fields, stock), (pair.ours, our_fields, ours))
        ]
        if texts[0] == texts[1] or (stock.status == ours.status != 200 and stock.code is None):
            return
        for difference in DIFFERENCES:
            if difference.explains(Case(call, our_fields), stock, ours):
                pair.drawn.update([f"difference {difference.stock}"])
                return
        told = "\n".join(unified_diff(*(text.split("\n") for text in texts), "stock", "ours", n=2, lineterm=""))
        raise AssertionError(f"{call}\nsent: {str(our_fields)[:2000]}\n{told[:6000]}")

    def _filled(self, server: Server, call: Call, spoilt: bool) -> dict[str, Any]:
        def lookup(word: str, more: str) -> str:
            if word == "name":
                return f"victim-{self._sent}-{self._prefix}{more}" if spoilt else self._prefix + more
            if word == "model":
                return f"m-{self._sent:016x}{int(more):016x}"
            if word == "limbo":
                return server.ids["experiment victim" if spoilt else "experiment limbo"]
            if word in ("created", "updated"):
                return server.time_of(word, self._id(server, "experiment", more, spoilt))
            return self._id(server, word, more, spoilt)

        fields: dict[str, Any] = filled(call.fields, lookup)
        return fields

    def _id(self, server: Server, kind: str, which: str, spoilt: bool) -> str:
        if spoilt:
            return server.ids[f"{kind} victim"]
        made = self._made[kind]
        if not made:
            return NO_RUN if kind == "run" else NO_EXPERIMENT
        return server.ids[made[int(which) % len(made)]]


def _given_id(kind: str, answer: Answer) -> str:
    assert answer.status == 200, answer
    found: str = answer.body["experiment_id"] if kind == "experiment" else answer.body["run"]["info"]["run_id"]
    return found
