"""Laws of documents: they say what the rows say, in the JSON that the API answers, however the log was cut."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_projections import documents
from runstream_services.adapters.postgres import Database
from runstream_services.gateway import render
from tests.laws.conftest import Empty
from tests.laws.effort import FEWER, MANY
from tests.laws.histories import cut, cuts, histories, meeting_points
from tests.laws.model import Model
from tests.laws.test_folding_laws import check_is_model
from tests.pipeline import Tables, pipeline, tables
from tests.sent import Sent

TABLES = {"params": "runs", "tags": "runs", "latest_metrics": "latest_metrics"}


@contextmanager
def limits(rows: int, characters: int) -> Iterator[None]:
    """Documents of at most so many rows and characters."""
    with mock.patch.object(documents, "MAX_ROWS", rows), mock.patch.object(documents, "MAX_CHARACTERS", characters):
        yield


async def elements_of_rows(found: Tables, table: str, run_id: str) -> list[dict[str, Any]]:
    """What the API's list has to hold, of the rows."""
    rows = await found.connection.fetch(
        f"select * from {table}{found.suffixes[TABLES[table]]} where run_id = $1 order by key", run_id
    )
    if table != "latest_metrics":
        return [{"key": row["key"], "value": row["value"]} for row in rows]
    return [
        {"key": row["key"], "value": render.number(row["value"]), "timestamp": row["timestamp"], "step": row["step"]}
        for row in rows
    ]


async def documents_of(found: Tables, run_id: str) -> dict[str, str | None]:
    """The documents of a run by table, null where there is none, and '' where it has no metrics yet."""
    row = await found.connection.fetchrow(
        "select r.params, r.tags, case when d.run_id is null then '' else d.document end as latest_metrics "
        f"from runs{found.suffixes['runs']} r "
        f"left join metric_documents{found.suffixes['latest_metrics']} d using (run_id) where run_id = $1",
        run_id,
    )
    return dict(row)


async def check_documents(found: Tables, model: Model) -> int:
    """Hold each document to its rows; return how many of them are null."""
    missing = 0
    for run_id in model.runs:
        for table, document in (await documents_of(found, run_id)).items():
            if document is None:
                missing += 1
                continue
            told, held = json.loads(f"[{document}]"), await elements_of_rows(found, table, run_id)
            # -0.0 equals 0.0, and is another value: the text tells them apart.
            assert json.dumps(told) == json.dumps(held), (run_id, table)
    return missing


async def check_any_batching(database: Database, history: list[Sent], data: st.DataObject) -> None:
    most = data.draw(st.sampled_from([(128, 16_000), (1, 16_000), (128, 1)]), label="rows and characters")
    with limits(*most):
        async with pipeline(database) as p, p.folding():
            for batch in cut(history, data.draw(cuts(len(history)), label="cuts")):
                await p.append(batch)
                if data.draw(st.booleans(), label="fold here"):
                    await p.folded()
            await p.folded()
    model = Model().log(history)
    async with tables(database) as found:
        missing = await check_documents(found, model)
        assert missing == 0 or most != (128, 16_000)
        # Of documents or of rows: what is read is the same.
        await check_is_model(found, model)


@FEWER
@given(history=histories() | meeting_points(), data=st.data())
async def test_documents_are_the_rows_in_any_batching(
    empty_pair: Empty, history: list[Sent], data: st.DataObject
) -> None:
    database, _ = await empty_pair()
    await check_any_batching(database, history, data)


@pytest.mark.long
@MANY
@given(history=histories(max_size=200) | meeting_points(), data=st.data())
async def test_documents_are_the_rows_in_any_batching_often(
    empty_pair: Empty, history: list[Sent], data: st.DataObject
) -> None:
    database, _ = await empty_pair()
    await check_any_batching(database, history, data)
