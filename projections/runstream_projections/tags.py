"""The rows of tags, in the ``runs`` projection: a run's tags, the last value of each."""

from __future__ import annotations

from collections.abc import Sequence

from runstream_projections.decisions import RUN_NAME_TAG
from runstream_projections.projection import Effective, Statement, columns, texts
from runstream_schemas.events import RunCreated, RunLogged, RunTagDeleted, RunUpdated


def set_by(effective: Effective) -> dict[str, str | None]:
    """The tags that an event sets or, with None, deletes. A run's name is its tag ``mlflow.runName`` too."""
    event = effective.event
    if isinstance(event, RunLogged):
        return {**event.tags}
    if isinstance(event, RunCreated):
        return {**event.tags, RUN_NAME_TAG: event.name} if event.name else {**event.tags}
    if isinstance(event, RunUpdated) and event.name:
        return {RUN_NAME_TAG: event.name}
    return {event.key: None} if isinstance(event, RunTagDeleted) else {}


def change(batch: Sequence[Effective], suffix: str) -> list[Statement]:
    """Set what was set last and delete what was deleted last."""
    tags: dict[tuple[str, str], tuple[str | None, int | None]] = {}
    for effective in batch:
        for key, value in set_by(effective).items():
            tags[effective.run_id, key] = (value, effective.experiment_id)
    kept = sorted((run, key, value, number) for (run, key), (value, number) in tags.items() if value is not None)
    gone = sorted(pair for pair, (value, _) in tags.items() if value is None)
    statements = []
    if kept:
        runs, keys, values, experiments = map(list, zip(*kept, strict=True))
        sql = (
            f"insert into tags{suffix} (run_id, key, value, experiment_id) "
            f"select * from {columns('text', 'text', 'text', 'bigint')} "
            "on conflict (run_id, key) do update set value = excluded.value"
        )
        statements.append(Statement(sql, (texts(runs), texts(keys), texts(values), experiments)))
    if gone:
        sql = (
            f"delete from tags{suffix} d using unnest($1::text[], $2::text[]) as t (run_id, key) "
            "where d.run_id = t.run_id and d.key = t.key"
        )
        statements.append(Statement(sql, tuple(map(list, zip(*gone, strict=True)))))
    return statements
