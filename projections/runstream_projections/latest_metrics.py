"""The ``latest_metrics`` projection: one value per run and key, what ``runs/get`` shows.

The latest point is the greatest by (step, timestamp, value), with NaN compared as 0; an equal one changes nothing
(MLflow's SqlAlchemyStore). The greatest of a batch is found in columns, and the guard in the upsert compares it with
the stored one, so that no row is read to fold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from runstream_projections.chunk import Chunk, Integers
from runstream_projections.documents import document, metric_json
from runstream_projections.metric_points import from_columns
from runstream_projections.projection import Batch, Projection, Statement, columns, texts
from runstream_schemas.columns import MetricColumns
from runstream_schemas.events import RunLogged

Latest = tuple[str, float, int, int]


def latest(chunk: Chunk, calls: Sequence[MetricColumns]) -> Iterator[Latest]:
    """Yield (key, value, step, timestamp) of the latest point of each key; ``calls`` are what ``chunk`` is made of.

    A chunk does not say in which order the points of different series were logged: where several have one key, its
    calls are gone through one by one, since of equal points the first stays.
    """
    keys = {series[0] for series in chunk.series}
    if len(keys) == len(chunk.series):
        yield from _latest_by_series(chunk)
        return
    by_key: dict[str, Latest] = {}
    for call in calls:
        for row in _latest_by_series(from_columns(call)):
            known = by_key.get(row[0])
            if known is None or _order(row) > _order(known):
                by_key[row[0]] = row
    yield from by_key.values()


def _latest_by_series(chunk: Chunk) -> Iterator[Latest]:
    best = _latest_of_series(chunk)
    return zip(
        (series[0] for series in chunk.series),
        chunk.values[best].tolist(),
        chunk.steps[best].tolist(),
        chunk.timestamps[best].tolist(),
        strict=True,
    )


def _order(row: Latest) -> tuple[int, int, float]:
    _, value, step, timestamp = row
    return step, timestamp, 0.0 if value != value else value  # noqa: PLR0124 -- NaN is compared as 0


def _latest_of_series(chunk: Chunk) -> Integers:
    """The index of each series' latest point."""
    ends = np.cumsum(chunk.counts) - 1
    rising = chunk.steps[1:] > chunk.steps[:-1]
    rising[ends[:-1]] = True
    if rising.all():  # the commonest: a later point of a series has a later step
        return ends
    comparable = np.where(np.isnan(chunk.values), 0.0, chunk.values)
    stretch = np.repeat(np.arange(len(chunk.counts)), chunk.counts)
    earlier_first = -np.arange(len(chunk))
    order = np.lexsort((earlier_first, comparable, chunk.timestamps, chunk.steps, stretch))
    return order[ends]


def fold(batch: Batch, suffix: str) -> list[Statement]:
    """Upsert the latest point of each run and key in the batch, and the documents of those runs."""
    runs: list[str] = []
    experiments: list[int] = []
    rows: list[Latest] = []
    for run_id, (_, chunk) in sorted(batch.chunks.items()):
        found = sorted(latest(chunk, batch.metrics[run_id][1]), key=lambda row: row[0])
        runs += [run_id] * len(found)
        experiments += [batch.experiments[run_id]] * len(found)
        rows += found
    if not rows:
        return []
    keys, values, steps, timestamps = map(list, zip(*rows, strict=True))
    sql = (
        f"insert into latest_metrics{suffix} as l (run_id, key, value, step, timestamp, experiment_id) "
        f"select * from {columns('text', 'text', 'float8', 'bigint', 'bigint', 'bigint')} "
        "on conflict (run_id, key) do update "
        "set value = excluded.value, step = excluded.step, timestamp = excluded.timestamp "
        "where (l.step, l.timestamp, case when l.value = 'NaN' then 0 else l.value end) "
        "< (excluded.step, excluded.timestamp, case when excluded.value = 'NaN' then 0 else excluded.value end)"
    )
    upsert = Statement(sql, (texts(runs), texts(keys), values, steps, timestamps, experiments))
    return [upsert, _documents(list(batch.chunks), suffix)]


def _documents(runs: list[str], suffix: str) -> Statement:
    """Make the documents of ``runs`` anew; one that is null stays so: the run is wide."""
    made = document(f"latest_metrics{suffix}", "t.run_id", metric_json("x"), "0")
    sql = (
        f"insert into metric_documents{suffix} (run_id, document) select t.run_id, {made} "
        f"from unnest($1::text[]) as t (run_id) left join metric_documents{suffix} d using (run_id) "
        "where d.run_id is null or d.document is not null "
        "on conflict (run_id) do update set document = excluded.document"
    )
    return Statement(sql, (sorted(runs),))


def content(suffix: str) -> str:
    """Every latest value; documents say nothing that these do not."""
    return f"select * from latest_metrics{suffix} order by run_id, key"


LATEST_METRICS: Final = Projection(
    name="latest_metrics",
    revision=2,
    handles=frozenset({RunLogged}),
    tables=("latest_metrics", "metric_documents"),
    fold=fold,
    content=content,
)
