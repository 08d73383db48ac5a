"""The rows of params, in the ``runs`` projection: written once per key; a second, equal writing changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from runstream_projections.projection import Effective, Statement, columns, texts
from runstream_schemas.events import RunLogged


def insert(batch: Sequence[Effective], suffix: str) -> list[Statement]:
    """Insert the params that are new; a conflicting value was rejected by the decisions."""
    logged = [(e, e.event.params) for e in batch if isinstance(e.event, RunLogged) and e.event.params]
    if not logged:
        return []
    runs: list[str] = []
    keys: list[str] = []
    values: list[str] = []
    experiments: list[int | None] = []
    # Run by run, in log order: neighbours meet on the same index page, and the first of equal keys is inserted first.
    for effective, params in sorted(logged, key=lambda pair: pair[0].stream):
        runs += [effective.run_id] * len(params)
        experiments += [effective.experiment_id] * len(params)
        keys += params
        values += params.values()
    sql = (
        f"insert into params{suffix} (run_id, key, value, experiment_id) "
        f"select * from {columns('text', 'text', 'text', 'bigint')} on conflict (run_id, key) do nothing"
    )
    return [Statement(sql, (texts(runs), texts(keys), texts(values), experiments))]
