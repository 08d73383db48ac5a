"""The ``outputs`` projection: the models that a run made, in log order. A model is only a name here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import count
from typing import Final

from runstream_projections.projection import Batch, Projection, Statement
from runstream_schemas.events import RunOutputsLogged


def fold(batch: Batch, suffix: str) -> list[Statement]:
    """Insert the outputs that are new; a model that is one already stays at its step."""
    rows: dict[tuple[str, str], tuple[int, int, int]] = {}
    places: defaultdict[tuple[str, int], Iterator[int]] = defaultdict(count)
    for effective in batch.of(RunOutputsLogged):
        run_id, position = effective.run_id, effective.position
        place = places[run_id, position]
        for output in effective.event.models:  # type: ignore[attr-defined]
            rows.setdefault((run_id, output.model_id), (output.step, position, next(place)))
    if not rows:
        return []
    sql = (
        f"insert into model_outputs{suffix} (run_id, model_id, step, position, place) "
        "select * from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::integer[]) "
        "on conflict (run_id, model_id) do nothing"
    )
    return [Statement(sql, tuple(map(list, zip(*((*key, *row) for key, row in rows.items()), strict=True))))]


def content(suffix: str) -> str:
    """Every output."""
    return f"select * from model_outputs{suffix} order by run_id, model_id"


def outputs_json(run: str, suffix: str) -> str:
    """An SQL expression of type text: the JSON of a run's ``outputs``; ``run`` is an SQL expression of the run's id.

    For a run without any it looks into one index. A column in ``run`` must name its table.
    """
    outputs = f"from model_outputs{suffix} where run_id = {run}"
    return (
        f"case when (select true {outputs} limit 1) then (select '{{\"model_outputs\":[' || string_agg("
        "json_build_object('model_id', model_id, 'step', step)::text, ',' order by position, place"
        f") || ']}}' {outputs}) else '{{}}' end"
    )


OUTPUTS: Final = Projection(
    name="outputs",
    revision=1,
    handles=frozenset({RunOutputsLogged}),
    tables=("model_outputs",),
    fold=fold,
    content=content,
)
