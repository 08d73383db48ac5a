"""What the projector decides without I/O: the order in which events take effect, and how long it gathers them."""

from __future__ import annotations

import pytest

from runstream_projections.decisions import ACCEPTED, Decision
from runstream_schemas.events import Event, ExperimentEnsured, RunCreated, RunDeleted, RunLogged
from runstream_services.ports import Recorded
from runstream_services.projector.core import Coalescing, Decided, effective, effective_in_order
from tests.sent import Sent, event_id


def recorded(position: int, event: Event, stream: str = "run/r", decision: Decision | None = None) -> Recorded:
    return Recorded(position, Sent(event_id(position), stream, event).envelope, event, decision)


def test_what_is_accepted_takes_effect_with_its_result() -> None:
    ensured, logged = ExperimentEnsured(name="a", created_at=1), RunLogged()
    events = [
        recorded(1, ensured, "experiments", Decision("accepted", result=7)),
        recorded(2, logged, decision=Decision("rejected", "BAD_REQUEST", "no")),
        recorded(3, logged, decision=Decision("waiting", waits_for="run/r")),
        recorded(4, logged, decision=ACCEPTED),
    ]
    assert [(e.position, e.stream, e.result) for e in effective(events)] == [(1, "experiments", 7), (4, "run/r", None)]


def test_the_absence_of_a_row_is_accepted() -> None:
    events = [recorded(at, RunLogged()) for at in (5, 6, 7)]
    found = effective_in_order(events, [Decided(6, "rejected", 6, None)], [], {})
    assert [e.position for e in found] == [5, 7]


def test_a_runs_event_has_the_experiment_of_its_run() -> None:
    ensured, logged = ExperimentEnsured(name="a", created_at=1), RunLogged()
    events = [recorded(1, ensured, "experiments"), recorded(2, logged, "run/r"), recorded(3, logged, "run/s")]
    late = [recorded(4, logged, "run/t")]
    experiments = {"run/r": 7, "run/s": 0, "run/t": 5}
    found = effective_in_order(events, [Decided(4, "accepted", 3, None)], late, experiments)
    assert [e.experiment_id for e in found] == [None, 7, 0, 5]
    for event, number in zip(events, (None, 7, 0), strict=True):
        event.decision, event.experiment_id = ACCEPTED, number
    assert [e.experiment_id for e in effective(events)] == [None, 7, 0]


def test_what_waited_takes_effect_behind_what_released_it() -> None:
    events = [recorded(8, RunLogged()), recorded(9, RunCreated(name="n", start_time=1)), recorded(10, RunDeleted())]
    late = [recorded(3, RunLogged(tags={"k": "early"})), recorded(1, RunLogged(tags={"k": "first"}))]
    rows = [Decided(8, "accepted", 9, None), Decided(3, "accepted", 9, None), Decided(1, "accepted", 9, None)]
    found = effective_in_order(events, rows, late, {})
    assert [e.position for e in found] == [9, 9, 9, 9, 10]
    assert [e.event for e in found] == [events[1].event, late[1].event, late[0].event, events[0].event, events[2].event]


def test_a_run_that_waited_comes_before_what_waited_for_it() -> None:
    ensured = recorded(9, ExperimentEnsured(name="a", created_at=1), "experiments")
    created = recorded(5, RunCreated(name="n", start_time=1, ensured_by=ensured.envelope.id))
    logged = recorded(2, RunLogged())
    rows = [Decided(9, "accepted", 9, 0), Decided(5, "accepted", 9, 0), Decided(2, "accepted", 9, None)]
    found = effective_in_order([ensured], rows, [logged, created], {})
    assert [e.event for e in found] == [ensured.event, created.event, logged.event]
    assert [e.result for e in found] == [0, 0, None]


def test_what_still_waits_takes_no_effect() -> None:
    assert effective_in_order([recorded(2, RunLogged())], [Decided(2, "waiting", None, None)], [], {}) == []


@pytest.mark.parametrize(("work_s", "pause_s"), [(0.0, 0.05), (0.01, 0.05), (0.1, 0.3), (10.0, 0.5)])
def test_changes_that_are_dear_are_gathered_longer(work_s: float, pause_s: float) -> None:
    assert Coalescing().pause_s(work_s) == pytest.approx(pause_s)
