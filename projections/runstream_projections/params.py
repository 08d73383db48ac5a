"""The ``params`` projection: written once per key; a second, equal writing changes nothing."""

from __future__ import annotations

from typing import Final

from runstream_projections.projection import Batch, Projection, Statement
from runstream_schemas.events import RunLogged


def fold(batch: Batch, suffix: str) -> list[Statement]:
    """Insert the params that are new; a conflicting value was rejected by the decisions."""
    params: dict[tuple[str, str], str] = {}
    for effective in batch.of(RunLogged):
        logged = effective.event.params  # type: ignore[attr-defined]
        if logged:
            run_id = effective.run_id
            for key, value in logged.items():
                params.setdefault((run_id, key), value)
    if not params:
        return []
    # Sorted as the primary key is: neighbours meet on the same index page.
    pairs = sorted(params)
    sql = (
        f"insert into params{suffix} (run_id, key, value) "
        "select * from unnest($1::text[], $2::text[], $3::text[]) on conflict (run_id, key) do nothing"
    )
    return [Statement(sql, ([run for run, _ in pairs], [key for _, key in pairs], [params[pair] for pair in pairs]))]


def content(suffix: str) -> str:
    """Every param."""
    return f"select * from params{suffix} order by run_id, key"


PARAMS: Final = Projection(
    name="params", revision=1, handles=frozenset({RunLogged}), tables=("params",), fold=fold, content=content
)
