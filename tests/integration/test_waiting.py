"""Events that come before what they need are kept, and take effect where it comes, in the order of the log."""

from __future__ import annotations

from unittest import mock

import pytest

from runstream_projections import decisions
from runstream_schemas.events import (
    Event,
    ExperimentDeleted,
    ExperimentEnsured,
    RunCreated,
    RunDeleted,
    RunLogged,
    RunRestored,
    RunTagDeleted,
    RunUpdated,
)
from runstream_schemas.ids import EXPERIMENTS, run_stream
from runstream_services.adapters.postgres import Database
from tests.databases import reused_database
from tests.laws.histories import of_points
from tests.laws.model import Model
from tests.laws.test_folding_laws import check_is_model
from tests.pipeline import Tables, fold, pairs, pipeline, tables, write
from tests.sent import Sent, event_id

database = reused_database

ENSURING = event_id(1)
ENSURED = Sent(ENSURING, EXPERIMENTS, ExperimentEnsured(name="offline", created_at=1))
CREATED = Sent(event_id(2), run_stream("r"), RunCreated(name="n", start_time=1, ensured_by=ENSURING))


def sent(number: int, event: Event, run: str = "r") -> Sent:
    return Sent(event_id(number), run_stream(run), event)


def point(number: int, step: int, run: str = "r") -> Sent:
    metrics = of_points([(("loss", None, (None, None)), step, step, float(step))])
    return sent(number, RunLogged(metrics=metrics, params={"lr": "1"}, tags={"last": str(step)}), run)


EARLY = [
    point(10, 1),
    sent(11, RunUpdated(name="renamed", status="FINISHED")),
    sent(12, RunLogged(params={"lr": "2"})),
    sent(13, RunTagDeleted(key="last")),
    sent(14, RunDeleted()),
    point(15, 2),
    sent(16, RunRestored()),
    point(17, 3),
]


async def check(database: Database, history: list[Sent]) -> Tables:
    async with tables(database) as found:
        await check_is_model(found, Model().log(history))
        return found


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    "history",
    [
        [*EARLY, ENSURED, CREATED],
        [*EARLY, CREATED, ENSURED],
        [CREATED, *EARLY, ENSURED],
        [*EARLY[:3], CREATED, *EARLY[3:6], ENSURED, *EARLY[6:]],
        [ENSURED, *EARLY, CREATED],
    ],
    ids=["experiment, run", "run, experiment", "run, events, experiment", "mixed", "experiment first"],
)
async def test_early_events_take_effect_in_their_order(database: Database, history: list[Sent], restart: bool) -> None:
    async with pipeline(database) as p, p.folding():
        for event in history:
            if restart:
                async with pipeline(database) as other:
                    await other.append([event])
            else:
                await p.append([event])
                await p.folded()
    await fold(database)
    await check(database, history)


async def test_in_one_batch_they_take_effect_as_well(database: Database) -> None:
    history = [*EARLY, CREATED, ENSURED]
    async with pipeline(database) as p, p.folding():
        outcomes = await p.append(history)
        await p.folded()
    # Their senders are told what was so when they were logged.
    assert [o.decision.verdict for o in outcomes] == ["waiting"] * 9 + ["accepted"]
    await check(database, history)


async def test_a_run_is_folded_before_what_waited_for_it_and_it_for_its_experiment(database: Database) -> None:
    """All take effect at one position: the creation must not write over a tag or a name that was set after it."""
    created = CREATED._replace(event=RunCreated(name="n", start_time=1, ensured_by=ENSURING, tags={"stage": "new"}))
    early = [sent(20, RunLogged(tags={"stage": "later"})), sent(21, RunUpdated(name="better"))]
    for history in ([*early, created, ENSURED],):
        await write(database, history[:2], history[2:])
        await fold(database)
        await check(database, history)
    async with tables(database) as found:
        run = await found.run("r")
        assert run is not None
        assert pairs(run, "tags") == {"stage": "later", "mlflow.runName": "better"}
        assert run["info"]["run_name"] == "better"


async def test_what_waits_is_decided_once_though_two_events_release_it(database: Database) -> None:
    """A second creation of the run in the batch of the experiment: each leads to the same waiting events."""
    deleted = sent(30, RunTagDeleted(key="mlflow.runName"))
    again = sent(31, RunCreated(name="n", start_time=1, experiment_id=0))
    history = [deleted, CREATED, again, ENSURED]
    await write(database, history[:2], history[2:])
    await fold(database)
    await check(database, history)
    async with tables(database) as found:
        assert (await found.verdicts())[1] == ("accepted", None, None)


async def test_a_run_that_is_refused_leaves_what_waits_for_it_waiting(database: Database) -> None:
    refused = sent(40, RunCreated(name="n", start_time=1, experiment_id=99))
    later = sent(41, RunCreated(name="n", start_time=1, experiment_id=0))
    history = [point(10, 1), refused, ENSURED]
    await write(database, *[[event] for event in history])
    async with tables(database) as found:
        assert (await found.verdicts())[1][0] == "waiting"
    await write(database, [later])
    await fold(database)
    await check(database, [*history, later])


async def test_an_ensured_experiment_that_is_deleted_refuses_the_run_that_waited(database: Database) -> None:
    first = Sent(event_id(50), EXPERIMENTS, ExperimentEnsured(name="offline", created_at=1))
    deleted = Sent(event_id(51), EXPERIMENTS, ExperimentDeleted(experiment_id=0, updated_at=2))
    history = [first, deleted, CREATED, point(10, 1), ENSURED]
    await write(database, *[[event] for event in history])
    await fold(database)
    await check(database, history)
    async with tables(database) as found:
        assert (await found.verdicts())[3] == ("rejected", "INVALID_PARAMETER_VALUE", None)
        assert (await found.verdicts())[4][0] == "waiting"


async def test_of_two_experiments_that_a_run_names_the_ensured_one_counts(database: Database) -> None:
    """A sender should name one; where it names two, what is decided is also what is shown."""
    other = Sent(event_id(60), EXPERIMENTS, ExperimentEnsured(name="other", created_at=1))
    both = CREATED._replace(
        event=RunCreated(name="n", start_time=1, experiment_id=0, ensured_by=ENSURING),
    )
    await write(database, [other, ENSURED, both])
    await fold(database)
    async with tables(database) as found:
        assert (await found.verdicts())[3] == ("accepted", None, 1)
        run = await found.run("r")
        assert run is not None
        assert run["info"]["experiment_id"] == "1"


@pytest.mark.parametrize("batch", [1, 3, 10])
@pytest.mark.parametrize("what", ["events of a run", "runs of an experiment"])
async def test_above_the_limit_waiting_ends_in_a_refusal(database: Database, what: str, batch: int) -> None:
    if what == "events of a run":
        waiting, other = [point(100 + at, at) for at in range(10)], [point(300, 1, "other")]
        releasing = [ENSURED, CREATED]
    else:
        waiting = [
            sent(100 + at, RunCreated(name="n", start_time=1, ensured_by=ENSURING), f"r{at}") for at in range(10)
        ]
        other = [sent(300, RunCreated(name="n", start_time=1, ensured_by=event_id(999)), "other")]
        releasing = [ENSURED]
    with mock.patch.object(decisions, "WAITING_LIMIT", 4):
        verdicts = []
        for start in range(0, 10, batch):
            async with pipeline(database) as p:  # a limit that a restart forgets is none
                verdicts += [o.decision for o in await p.append(waiting[start : start + batch])]
        assert [d.verdict for d in verdicts] == ["waiting"] * 4 + ["rejected"] * 6
        assert {(d.code, "4 events already wait" in (d.message or "")) for d in verdicts[4:]} == {
            ("RESOURCE_DOES_NOT_EXIST", True)
        }
        async with pipeline(database) as p:
            assert [o.decision.verdict for o in await p.append(other)] == ["waiting"], "each key has its own limit"
            await p.append(releasing)
            assert (await p.append([waiting[4]._replace(id=event_id(500))]))[0].decision.verdict == "accepted"
    async with tables(database) as found:
        assert [v for v, _, _ in (await found.verdicts()).values()][:10] == ["accepted"] * 4 + ["rejected"] * 6
