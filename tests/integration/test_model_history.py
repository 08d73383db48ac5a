"""A history of models is lengthened by the database as by the function that says how."""

from __future__ import annotations

from itertools import product

from runstream_projections.projection import Batch, Effective
from runstream_projections.runs import RUNS
from runstream_projections.tags import MAX_HISTORY, appended
from runstream_schemas.events import Event, RunLogged, RunModelLogged
from runstream_schemas.ids import run_stream
from runstream_services.adapters.postgres import Database
from tests.databases import reused_database
from tests.pipeline import connected

database = reused_database

KEY = "mlflow.log-model.history"
HISTORIES = [
    None, "", "[", "]", "[]", "[ß]", "{}", "[1", "1]", "[%_\\]",
    *(f"[{'é' * size}]" for size in range(MAX_HISTORY - 8, MAX_HISTORY)),
]  # fmt: skip
ENTRIES = [
    ["{}"],
    ["{]]]}"],
    ["{}", "{1}", "{22}"],
    ["{" + "]" * MAX_HISTORY + "}"],
    ["{" + "x" * (MAX_HISTORY - 4) + "}"],
]


async def test_the_database_lengthens_a_history_as_the_rule_says(database: Database) -> None:
    cases = {f"r{number}": case for number, case in enumerate(product(HISTORIES, ENTRIES))}
    set_before: list[tuple[str, Event]] = [
        (run, RunLogged(tags={KEY: history})) for run, (history, _) in cases.items() if history is not None
    ]
    listed = [(run, RunModelLogged(entry=entry)) for run, (_, entries) in cases.items() for entry in entries]
    async with connected(database) as connection:
        for events in (set_before, listed):
            batch = Batch(
                [Effective(at, run_stream(run), event, experiment_id=1) for at, (run, event) in enumerate(events)]
            )
            for statement in RUNS.fold(batch, "_v1"):
                await connection.execute(statement.sql, *statement.args)
        found = dict(await connection.fetch("select run_id, value from tags_v1 where key = $1", KEY))
    expected = {}
    for run, (history, entries) in cases.items():
        expected[run] = "[]" if history is None else history
        for entry in entries:
            expected[run] = appended(expected[run], entry)
    assert found == expected
