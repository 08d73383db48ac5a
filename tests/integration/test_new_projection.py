"""A release that brings a new projection to a database of an earlier one: it fills itself, and who reads waits."""

from __future__ import annotations

import asyncio
import json
from unittest import mock

import pytest

from runstream_projections import reads
from runstream_projections.catalogue import PROJECTIONS
from runstream_projections.suffixes import RUN_PROJECTIONS
from runstream_schemas.events import (
    Dataset,
    DatasetInput,
    Event,
    ExperimentCreated,
    ModelOutput,
    RunCreated,
    RunInputsLogged,
    RunLogged,
    RunOutputsLogged,
)
from runstream_schemas.ids import EXPERIMENTS, run_stream
from runstream_services.adapters.postgres import Database, Pool
from runstream_services.databases import prepare
from runstream_services.gateway.service import Gateway
from runstream_services.projector import service
from tests.databases import reused_database
from tests.laws.model import Model
from tests.laws.test_folding_laws import check_is_model
from tests.pipeline import connected, fold, pipeline, tables, write
from tests.sent import Sent, event_id

database = reused_database

RUN = "r"
WINE = DatasetInput(Dataset("wine", "d1", "local", "s"), {"mlflow.data.context": "training"})


def history() -> list[Sent]:
    events: list[tuple[str, Event]] = [
        (EXPERIMENTS, ExperimentCreated(name="e", created_at=1)),
        (run_stream(RUN), RunInputsLogged(datasets=[WINE], models=["m-1"])),  # waits for its run
        (run_stream(RUN), RunCreated(name="n", start_time=1, experiment_id=0)),
        *((run_stream(RUN), RunLogged(tags={"t": str(at)})) for at in range(20)),
        (run_stream(RUN), RunOutputsLogged(models=[ModelOutput("m-2", 3)])),
    ]
    return [Sent(event_id(at), stream, event) for at, (stream, event) in enumerate(events)]


async def forget(database: Database, name: str) -> None:
    """Leave the database as a release that did not know the projection would have it."""
    async with connected(database) as owner:
        await owner.execute("delete from projections where name = $1", name)
        await owner.execute("drop table " + ", ".join(f"{table}_v1" for table in PROJECTIONS[name].tables))


@pytest.mark.parametrize("names", [["inputs"], ["inputs", "outputs"]])
async def test_a_projection_that_is_new_fills_itself_and_a_read_waits_for_it(
    database: Database, names: list[str]
) -> None:
    events = history()
    await write(database, events)
    await fold(database)
    for name in names:
        await forget(database, name)
    await prepare(database)
    async with pipeline(database) as p:
        pool = Pool(database, 1, on_open=p.projector.confirm)
        gateway = Gateway(p.bus, pool, p.decider, p.projector, lambda: 0, bytes)
        reading = asyncio.create_task(gateway.fetch(RUN_PROJECTIONS, reads.run_query, RUN))
        head = await gateway.head()
        assert not reading.done()
        with mock.patch.object(service, "CHANGE_EVENTS", 4):
            async with p.folding():
                [[read]] = await reading
        await pool.close()
        assert head == len(events)
    run = json.loads(read)
    assert run["inputs"]["dataset_inputs"][0]["dataset"]["name"] == "wine"
    assert run["outputs"] == {"model_outputs": [{"model_id": "m-2", "step": 3}]}
    async with tables(database) as found:
        await check_is_model(found, Model().log(events))
