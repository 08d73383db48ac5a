"""The ``tags`` projection: a run's tags, the last value of each."""

from __future__ import annotations

from typing import Final

from runstream_projections.decisions import RUN_NAME_TAG
from runstream_projections.projection import Batch, Projection, Statement
from runstream_schemas.events import RunCreated, RunLogged, RunTagDeleted, RunUpdated

HANDLES: Final = (RunCreated, RunLogged, RunUpdated, RunTagDeleted)


def fold(batch: Batch, suffix: str) -> list[Statement]:
    """Set what was set last and delete what was deleted last. A run's name is its tag ``mlflow.runName`` too."""
    tags: dict[tuple[str, str], str | None] = {}
    for effective in batch.of(*HANDLES):
        event, run_id = effective.event, effective.run_id
        if isinstance(event, RunLogged | RunCreated):
            for key, value in event.tags.items():
                tags[run_id, key] = value
        if isinstance(event, RunTagDeleted):
            tags[run_id, event.key] = None
        elif isinstance(event, RunCreated | RunUpdated) and event.name:
            tags[run_id, RUN_NAME_TAG] = event.name
    kept = sorted((run, key, value) for (run, key), value in tags.items() if value is not None)
    gone = sorted(pair for pair, value in tags.items() if value is None)
    statements = []
    if kept:
        sql = (
            f"insert into tags{suffix} (run_id, key, value) select * from unnest($1::text[], $2::text[], $3::text[]) "
            "on conflict (run_id, key) do update set value = excluded.value"
        )
        statements.append(Statement(sql, tuple(map(list, zip(*kept, strict=True)))))
    if gone:
        sql = (
            f"delete from tags{suffix} d using unnest($1::text[], $2::text[]) as t (run_id, key) "
            "where d.run_id = t.run_id and d.key = t.key"
        )
        statements.append(Statement(sql, tuple(map(list, zip(*gone, strict=True)))))
    return statements


def content(suffix: str) -> str:
    """Every tag."""
    return f"select * from tags{suffix} order by run_id, key"


TAGS: Final = Projection(
    name="tags", revision=1, handles=frozenset(HANDLES), tables=("tags",), fold=fold, content=content
)
