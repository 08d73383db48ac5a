"""The ``params`` projection: written once per key; a second, equal writing changes nothing."""

from __future__ import annotations

from typing import Final

from runstream_projections.projection import Batch, Projection, Statement, columns, texts
from runstream_schemas.events import RunLogged


def fold(batch: Batch, suffix: str) -> list[Statement]:
    """Insert the params that are new; a conflicting value was rejected by the decisions."""
    logged = [e for e in batch.of(RunLogged) if e.event.params]  # type: ignore[attr-defined]
    if not logged:
        return []
    runs: list[str] = []
    keys: list[str] = []
    values: list[str] = []
    # Run by run, in log order: neighbours meet on the same index page, and the first of equal keys is inserted first.
    for effective in sorted(logged, key=lambda e: e.stream):
        params: dict[str, str] = effective.event.params  # type: ignore[attr-defined]
        runs += [effective.run_id] * len(params)
        keys += params
        values += params.values()
    sql = (
        f"insert into params{suffix} (run_id, key, value) "
        f"select * from {columns('text', 'text', 'text')} on conflict (run_id, key) do nothing"
    )
    return [Statement(sql, (texts(runs), texts(keys), texts(values)))]


def content(suffix: str) -> str:
    """Every param."""
    return f"select * from params{suffix} order by run_id, key"


PARAMS: Final = Projection(
    name="params", revision=1, handles=frozenset({RunLogged}), tables=("params",), fold=fold, content=content
)
