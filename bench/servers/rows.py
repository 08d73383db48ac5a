"""Fills a population into the tables that MLflow and FastTrackML have in common, as calls would leave them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from bench.population import LASTED_MS, STEP, USER, Population
from bench.postgres import Database
from bench.request import FIRST_MS

_WAY: Final = "create unlogged table population (number bigint, id text, v float8[], p text[], t text[])"

Columns = Mapping[str, str]


def fill(
    database: Database,
    experiment_id: str,
    population: Population,
    *,
    run: Columns,
    metric: Columns,
    latest: Columns,
    tag: str | None = None,
) -> None:
    """Insert every run; further columns are given as SQL. With ``tag`` each run has its name as a tag of that key."""
    database.query(_WAY)
    database.copy("copy population from stdin", _lines(population))
    started = f"{FIRST_MS} + number"
    runs = {
        "run_uuid": "id", "name": "'run-' || number", "source_type": "'UNKNOWN'", "source_name": "''",
        "entry_point_name": "''", "user_id": f"'{USER}'", "status": "'FINISHED'", "start_time": started,
        "end_time": f"{started} + {LASTED_MS}", "source_version": "''", "lifecycle_stage": "'active'",
        "artifact_uri": "artifact_location || '/' || id || '/artifacts'", "experiment_id": "experiment_id",
    }  # fmt: skip
    points = {
        "key": "key", "value": "value", "timestamp": started, "run_uuid": "id", "step": str(STEP), "is_nan": "false",
    }  # fmt: skip
    texts = {"key": "key", "value": "value", "run_uuid": "id"}
    values = _unnest("v", population.metrics)
    source = f"population join experiments on experiment_id = {int(experiment_id)}"
    database.query(_insert("runs", {**runs, **run}, source))
    database.query(_insert("metrics", {**points, **metric}, values))
    database.query(_insert("latest_metrics", {**points, **latest}, values))
    database.query(_insert("params", texts, _unnest("p", population.params)))
    database.query(_insert("tags", texts, _unnest("t", population.tags)))
    if tag is not None:
        names = {"key": f"'{tag}'", "value": "'run-' || number", "run_uuid": "id"}
        database.query(_insert("tags", names, "population"))
    database.query("drop table population")


def _insert(table: str, columns: Columns, source: str) -> str:
    return f"insert into {table} ({', '.join(columns)}) select {', '.join(columns.values())} from {source}"


def _unnest(column: str, keys: tuple[str, ...]) -> str:
    return f"population, unnest('{{{','.join(keys)}}}'::text[], {column}) as pair (key, value)"


def _lines(population: Population) -> Iterator[bytes]:
    for number in range(population.runs):
        run = population.run(number)
        arrays = ["{" + ",".join(map(str, run[part].values())) + "}" for part in ("metrics", "params", "tags")]
        yield "\t".join((str(number), run["run_id"], *arrays)).encode() + b"\n"
