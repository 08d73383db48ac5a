"""Laws of deciding, without a database: the decisions are those of a plain model, however the log is cut."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from runstream_projections.decisions import ACCEPTED, Changes, Claim, Decision, State, decide
from runstream_schemas.events import Event, RunCreated
from tests.laws.histories import cut, cuts, histories
from tests.laws.model import Model
from tests.sent import Sent


class Memory:
    """All that was ever decided, as the tables would hold it."""

    def __init__(self) -> None:
        self.state = State()
        self.decisions: dict[int, Decision] = {}
        self.positions = 0

    def decide(self, batch: list[Sent]) -> None:
        claims = [Claim(at, s.id, s.stream, s.event) for at, s in enumerate(batch, self.positions + 1)]
        self.positions += len(batch)
        changes = decide(self.state, claims)
        self.decisions.update({claim.position: ACCEPTED for claim in claims} | changes.decisions)
        self._apply(changes)

    def _apply(self, changes: Changes) -> None:
        state = self.state
        state.runs.update(changes.runs)
        state.experiments.update(changes.experiments)
        state.ensured.update(changes.ensured)
        state.params.update(changes.params)
        state.next_experiment_id = changes.next_experiment_id
        for name, number in changes.names.items():
            if number is None:
                state.names.pop(name, None)
            else:
                state.names[name] = number
        state.tags = (state.tags | {t for t, there in changes.tags.items() if there}) - {
            t for t, there in changes.tags.items() if not there
        }
        for key, claims in changes.waiting.items():
            state.waiting.setdefault(key, []).extend(claims)
        settled = {claim.position for claim, _, _ in changes.late}
        for claim, _, decision in changes.late:
            assert decision.verdict != "waiting"
            self.decisions[claim.position] = decision
        for key, claims in list(state.waiting.items()):
            state.waiting[key] = [claim for claim in claims if claim.position not in settled]
        state.waiting_counts = {key: len(claims) for key, claims in state.waiting.items()}


def verdicts(memory: Memory) -> dict[int, tuple[str, str | None, int | None]]:
    return {at: (d.verdict, d.code, d.result) for at, d in memory.decisions.items()}


@settings(max_examples=150, deadline=None)
@given(histories(min_size=20, max_size=60), st.data())
def test_decisions_are_those_of_the_model_however_the_log_is_cut(history: list[Sent], data: st.DataObject) -> None:
    model = Model().log(history)
    memory = Memory()
    for batch in cut(history, data.draw(cuts(len(history)), label="cuts")):
        memory.decide(batch)
    assert verdicts(memory) == {at: tuple(verdict) for at, verdict in model.verdicts.items()}
    assert {run: r.experiment_id for run, r in memory.state.runs.items()} == {
        run: r.experiment_id for run, r in model.runs.items()
    }
    assert {n: e.name for n, e in memory.state.experiments.items()} == {n: e.name for n, e in model.experiments.items()}


@settings(max_examples=50, deadline=None)
@given(histories(min_size=20, max_size=60), st.integers(0, 60))
def test_a_rejection_says_why_and_only_a_rejection_does(history: list[Sent], at: int) -> None:
    memory = Memory()
    for batch in cut(history, [at]):
        memory.decide(batch)
    for decision in memory.decisions.values():
        assert decision.verdict in ("accepted", "rejected", "waiting")
        assert (decision.verdict == "rejected") == (decision.code is not None) == (decision.message is not None)
        assert (decision.verdict == "waiting") <= (decision.waits_for is not None)


@settings(max_examples=50, deadline=None)
@given(histories(min_size=10, max_size=40))
def test_deciding_changes_nothing_but_what_it_returns(history: list[Sent]) -> None:
    """A failed append throws its draft away: the next one must find the state as it was."""
    memory = Memory()
    memory.decide(history[: len(history) // 2])
    rest = [Claim(at, s.id, s.stream, s.event) for at, s in enumerate(history[len(history) // 2 :], 1000)]
    first, second = decide(memory.state, rest), decide(memory.state, rest)
    assert first == second


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["log", "create"]), min_size=1, max_size=30))
def test_what_waits_is_decided_at_its_run_and_in_log_order(moves: list[str]) -> None:
    from tests.laws.histories import RUNS
    from tests.sent import event_id

    stream = f"run/{RUNS[0]}"
    history = [Sent(event_id(0), "experiments", _default())]
    for number, move in enumerate(moves, 1):
        event: Event = RunCreated(name="n", start_time=1, experiment_id=0) if move == "create" else _param(number)
        history.append(Sent(event_id(number), stream, event))
    memory = Memory()
    for sent in history:
        memory.decide([sent])
    logs = [at for at, sent in enumerate(history, 1) if not isinstance(sent.event, RunCreated) and at > 1]
    if "create" not in moves:
        assert all(memory.decisions[at].verdict == "waiting" for at in logs)
    else:
        # The first in log order gives the param its value, whenever its run was created.
        expected = ["accepted"] + ["rejected"] * (len(logs) - 1)
        assert [memory.decisions[at].verdict for at in logs] == expected[: len(logs)]


def _default() -> Event:
    from runstream_schemas.events import ExperimentCreated

    return ExperimentCreated(name="Default", created_at=1)


def _param(number: int) -> Event:
    from runstream_schemas.events import RunLogged

    return RunLogged(params={"lr": str(number)})
