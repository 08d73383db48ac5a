"""The rules by which events are accepted or refused, and what a refusal says."""

from __future__ import annotations

from uuid import UUID

import pytest

from runstream_projections.decision_tables import changes_to_statements, needs, with_early
from runstream_projections.decisions import Claim, Decision, Experiment, Lifecycle, Run, State, decide, key_hash
from runstream_projections.decisions import value_digest as digest
from runstream_schemas.errors import STATUS_BY_CODE
from runstream_schemas.events import (
    EVENT_TYPES,
    Event,
    ExperimentCreated,
    ExperimentDeleted,
    ExperimentEnsured,
    ExperimentRenamed,
    ExperimentRestored,
    ExperimentTagDeleted,
    ExperimentTagSet,
    ModelOutput,
    RunCreated,
    RunDeleted,
    RunInputsLogged,
    RunLogged,
    RunModelLogged,
    RunOutputsLogged,
    RunRestored,
    RunTagDeleted,
    RunUpdated,
)
from tests.sent import event_id

E, R, D = "experiments", "run/r", "run/deleted"
EXISTS, MISSING, INVALID = "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"


def state() -> State:
    """Experiment 0 "active" with an active run r and a deleted run, and experiment 1 "gone", which is deleted."""
    return State(
        runs={"r": Run(0, Lifecycle(False, 3)), "deleted": Run(0, Lifecycle(True, 4))},
        experiments={0: Experiment("active", Lifecycle(False, 1)), 1: Experiment("gone", Lifecycle(True, 5))},
        names={"active": 0, "gone": 1},
        ensured={event_id(1): 0},
        params={key_hash(R, "lr"): digest("0.1")},
        tags={key_hash(R, "stage"), key_hash("experiment/0", "team")},
        next_experiment_id=2,
    )


def decided(event: Event, stream: str = "experiments", number: int = 50) -> Decision:
    changes = decide(state(), [Claim(10, event_id(number), stream, event)])
    return changes.decisions.get(10, Decision("accepted"))


ACCEPTED: list[tuple[str, Event, int | None]] = [
    (E, ExperimentCreated(name="new", created_at=1), 2),
    (E, ExperimentEnsured(name="new", created_at=1), 2),
    (E, ExperimentEnsured(name="active", created_at=1), 0),
    (E, ExperimentEnsured(name="gone", created_at=1), 1),
    (E, ExperimentRenamed(experiment_id=0, name="other", updated_at=1), None),
    (E, ExperimentRenamed(experiment_id=0, name="active", updated_at=1), None),
    (E, ExperimentDeleted(experiment_id=0, updated_at=1), None),
    (E, ExperimentRestored(experiment_id=1, updated_at=1), None),
    (E, ExperimentTagSet(experiment_id=0, key="k", value=""), None),
    (E, ExperimentTagDeleted(experiment_id=0, key="team"), None),
    ("run/new", RunCreated(name="n", start_time=1, experiment_id=0), None),
    ("run/new", RunCreated(name="n", start_time=1, ensured_by=event_id(1)), 0),
    (R, RunLogged(params={"lr": "0.1", "new": "1"}, tags={"t": "v"}), None),
    (R, RunUpdated(status="FINISHED"), None),
    (R, RunTagDeleted(key="stage"), None),
    (R, RunInputsLogged(models=["m-1"]), None),
    (R, RunOutputsLogged(models=[ModelOutput("m-1")]), None),
    (R, RunModelLogged(entry="{}"), None),
    (R, RunDeleted(), None),
    (R, RunRestored(), None),
    (D, RunDeleted(), None),
    (D, RunRestored(), None),
]

REFUSED: list[tuple[str, Event, str, str]] = [
    (
        "experiments",
        ExperimentCreated(name="active", created_at=1),
        EXISTS,
        "already exists, with id 0",
    ),
    (
        "experiments",
        ExperimentCreated(name="gone", created_at=1),
        EXISTS,
        "It is deleted: restore it",
    ),
    (E, ExperimentRenamed(experiment_id=0, name="gone", updated_at=1), "BAD_REQUEST", "with id 1"),
    (E, ExperimentRenamed(experiment_id=1, name="x", updated_at=1), INVALID, "deleted"),
    (E, ExperimentRenamed(experiment_id=7, name="x", updated_at=1), MISSING, "id=7"),
    (
        "experiments",
        ExperimentDeleted(experiment_id=1, updated_at=1),
        MISSING,
        "No active experiment",
    ),
    (
        "experiments",
        ExperimentRestored(experiment_id=0, updated_at=1),
        MISSING,
        "No deleted experiment",
    ),
    (E, ExperimentTagSet(experiment_id=1, key="k", value="v"), INVALID, "experiment 1"),
    (E, ExperimentTagDeleted(experiment_id=0, key="k"), MISSING, "No tag with name: k"),
    (R, RunCreated(name="n", start_time=1, experiment_id=0), EXISTS, "Run 'r' already exists"),
    ("run/new", RunCreated(name="n", start_time=1, experiment_id=1), INVALID, "experiment 1"),
    ("run/new", RunCreated(name="n", start_time=1, experiment_id=7), MISSING, "id=7"),
    ("run/new", RunCreated(name="n", start_time=1), MISSING, "No Experiment"),
    (R, RunLogged(params={"lr": "0.2"}), INVALID, "key='lr' was already logged with another value"),
    (R, RunTagDeleted(key="none"), MISSING, "No tag with name: none in run with id r"),
    (D, RunLogged(tags={"k": "v"}), INVALID, "The run deleted must be in the 'active' state"),
    (D, RunUpdated(status="FINISHED"), INVALID, "restore it first"),
    (D, RunTagDeleted(key="stage"), INVALID, "restore it first"),
    (D, RunInputsLogged(), INVALID, "restore it first"),
    (D, RunOutputsLogged(), INVALID, "restore it first"),
    (D, RunModelLogged(entry="{}"), INVALID, "restore it first"),
]


def test_there_is_a_row_for_every_event_type() -> None:
    assert {type(event) for _, event, _ in ACCEPTED} == set(EVENT_TYPES.values())


@pytest.mark.parametrize(("stream", "event", "result"), ACCEPTED)
def test_accepted(stream: str, event: Event, result: int | None) -> None:
    assert decided(event, stream) == Decision("accepted", result=result)


@pytest.mark.parametrize(("stream", "event", "code", "words"), REFUSED)
def test_refused_with_mlflows_code_and_a_reason(stream: str, event: Event, code: str, words: str) -> None:
    decision = decided(event, stream)
    assert (decision.verdict, decision.code) == ("rejected", code)
    assert words in (decision.message or "")
    assert STATUS_BY_CODE[code] < 500, "a permanent error is never a 5xx"


@pytest.mark.parametrize(
    ("stream", "event", "waits_for"),
    [
        ("run/new", RunLogged(), "run/new"),
        ("run/new", RunDeleted(), "run/new"),
        ("run/new", RunInputsLogged(), "run/new"),
        ("run/new", RunModelLogged(entry="{}"), "run/new"),
        ("run/new", RunCreated(name="n", start_time=1, ensured_by=UUID(int=5)), str(UUID(int=5))),
    ],
)
def test_waiting_for_what_is_not_there(stream: str, event: Event, waits_for: str) -> None:
    assert decided(event, stream) == Decision("waiting", waits_for=waits_for)


def test_a_call_is_refused_as_a_whole() -> None:
    """The new param of a call with a changed one is not taken: another call may give it another value."""
    calls = [RunLogged(params={"new": "1", "lr": "0.2"}), RunLogged(params={"new": "2"})]
    claims = [Claim(10 + at, event_id(50 + at), R, call) for at, call in enumerate(calls)]
    changes = decide(state(), claims)
    assert list(changes.decisions) == [10]
    assert changes.params == {key_hash(R, "new"): digest("2")}


def test_a_history_of_models_is_a_tag_that_can_be_deleted() -> None:
    calls = [RunModelLogged(entry="{}"), RunTagDeleted(key="mlflow.log-model.history")] * 2
    claims = [Claim(10 + at, event_id(50 + at), R, call) for at, call in enumerate([*calls, calls[1]])]
    assert list(decide(state(), claims).decisions) == [14]


def test_a_long_value_is_shown_by_its_beginning() -> None:
    decision = decided(RunLogged(params={"lr": "x" * 6_000}), R)
    assert len(decision.message or "") < 600


def test_later_deletes_and_restores_of_run_and_experiment_override_each_other() -> None:
    moves: list[tuple[str, Event, bool]] = [
        ("experiments", ExperimentDeleted(experiment_id=0, updated_at=1), True),
        (R, RunRestored(), False),
        (R, RunDeleted(), True),
        ("experiments", ExperimentRestored(experiment_id=0, updated_at=1), False),
        (R, RunDeleted(), True),
        (R, RunRestored(), False),
    ]
    claims = []
    for at, (stream, event, _) in enumerate(moves):
        claims += [Claim(10 + 2 * at, event_id(50 + at), stream, event)]
        claims += [Claim(11 + 2 * at, event_id(80 + at), R, RunLogged(tags={"k": "v"}))]
    changes = decide(state(), claims)
    refused = [changes.decisions.get(11 + 2 * at) is not None for at in range(len(moves))]
    assert refused == [deleted for *_, deleted in moves]


def test_metrics_and_tags_of_a_known_run_write_no_row_of_params_and_no_decision() -> None:
    claims = [Claim(10 + at, event_id(50 + at), R, RunLogged()) for at in range(100)]
    assert changes_to_statements(decide(state(), claims), "_v1") == []


def test_what_waited_and_was_released_in_one_batch_is_one_row() -> None:
    claims = [
        Claim(10, event_id(50), "run/new", RunLogged()),
        Claim(11, event_id(51), "run/new", RunCreated(name="n", start_time=1, experiment_id=0)),
    ]
    rows, settled = with_early(decide(state(), claims))
    assert [(position, at, decision.verdict, decision.waits_for) for position, at, decision in rows] == [
        (10, 11, "accepted", "run/new")
    ]
    assert settled == []


def test_what_deciding_needs_is_named_beforehand() -> None:
    found = needs([Claim(10 + at, event_id(50 + at), stream, event) for at, (stream, event, _) in enumerate(ACCEPTED)])
    assert found.runs == {"new", "r", "deleted"}
    assert found.experiments == {0, 1}
    assert found.names == {"new", "active", "gone", "other"}
    assert found.ensured == {event_id(1)}
    assert set(found.params) == {key_hash(R, "lr"), key_hash(R, "new")}
    assert set(found.tags) == {key_hash("experiment/0", "team"), key_hash(R, "stage")}


def test_keys_of_different_owners_have_different_hashes() -> None:
    assert len({key_hash(owner, key) for owner in ("run/a", "run/b", "experiment/1") for key in ("k", "l")}) == 6
