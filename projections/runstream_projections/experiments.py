"""The ``experiments`` projection: what ``experiments/get`` and ``experiments/search`` show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from runstream_projections.artifact_uri import around_run_id, artifact_root
from runstream_projections.projection import Batch, Projection, Statement
from runstream_schemas.events import (
    EXPERIMENT_EVENTS,
    ExperimentCreated,
    ExperimentDeleted,
    ExperimentEnsured,
    ExperimentRenamed,
    ExperimentRestored,
    ExperimentTagDeleted,
    ExperimentTagSet,
)


@dataclass(slots=True)
class _Change:
    name: str | None = None
    deleted: bool | None = None
    lifecycle_at: int | None = None
    updated_at: int | None = None


def fold(batch: Batch, suffix: str) -> list[Statement]:
    """Insert what was created, then apply what changed, each experiment once."""
    created: dict[int, tuple[object, ...]] = {}
    changes: dict[int, _Change] = {}
    tags: dict[tuple[int, str], str | None] = {}
    for position, _, event, result, _ in batch.of(*EXPERIMENT_EVENTS):
        if isinstance(event, ExperimentCreated | ExperimentEnsured):
            assert result is not None
            location = event.artifact_location if isinstance(event, ExperimentCreated) else None
            around = around_run_id(artifact_root(result, location))
            row = (result, event.name, location, *around, False, position, event.created_at, event.created_at)
            created.setdefault(result, row)
            if isinstance(event, ExperimentCreated):
                tags.update({(result, key): value for key, value in event.tags.items()})
        elif isinstance(event, ExperimentTagSet):
            tags[event.experiment_id, event.key] = event.value
        elif isinstance(event, ExperimentTagDeleted):
            tags[event.experiment_id, event.key] = None
        elif isinstance(event, ExperimentRenamed | ExperimentDeleted | ExperimentRestored):
            change = changes.setdefault(event.experiment_id, _Change())
            change.updated_at = event.updated_at
            if isinstance(event, ExperimentRenamed):
                change.name = event.name
            else:
                change.deleted, change.lifecycle_at = isinstance(event, ExperimentDeleted), position
    return [*_created(created, suffix), *_changed(changes, suffix), *_tags(tags, suffix)]


def _created(rows: dict[int, tuple[object, ...]], suffix: str) -> list[Statement]:
    if not rows:
        return []
    sql = (
        f"insert into experiments{suffix} "
        "(experiment_id, name, artifact_location, artifact_prefix, artifact_suffix, deleted, lifecycle_at, "
        "creation_time, last_update_time) select * from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], "
        "$5::text[], $6::boolean[], $7::bigint[], $8::bigint[], $9::bigint[]) "
        "on conflict (experiment_id) do nothing"  # an experiment that was ensured may exist
    )
    return [Statement(sql, tuple(map(list, zip(*rows.values(), strict=True))))]


def _changed(changes: dict[int, _Change], suffix: str) -> list[Statement]:
    if not changes:
        return []
    sql = (
        f"update experiments{suffix} e set name = coalesce(t.name, e.name), "
        "deleted = coalesce(t.deleted, e.deleted), lifecycle_at = coalesce(t.lifecycle_at, e.lifecycle_at), "
        "last_update_time = t.updated_at "
        "from unnest($1::bigint[], $2::text[], $3::boolean[], $4::bigint[], $5::bigint[]) "
        "as t (experiment_id, name, deleted, lifecycle_at, updated_at) where e.experiment_id = t.experiment_id"
    )
    values = changes.values()
    columns = (
        list(changes),
        [c.name for c in values],
        [c.deleted for c in values],
        [c.lifecycle_at for c in values],
        [c.updated_at for c in values],
    )
    return [Statement(sql, columns)]


def _tags(tags: dict[tuple[int, str], str | None], suffix: str) -> list[Statement]:
    kept = [(number, key, value) for (number, key), value in tags.items() if value is not None]
    gone = [pair for pair, value in tags.items() if value is None]
    statements = []
    if kept:
        sql = (
            f"insert into experiment_tags{suffix} select * from unnest($1::bigint[], $2::text[], $3::text[]) "
            "on conflict (experiment_id, key) do update set value = excluded.value"
        )
        statements.append(Statement(sql, tuple(map(list, zip(*kept, strict=True)))))
    if gone:
        sql = (
            f"delete from experiment_tags{suffix} e using unnest($1::bigint[], $2::text[]) as t (experiment_id, key) "
            "where e.experiment_id = t.experiment_id and e.key = t.key"
        )
        statements.append(Statement(sql, tuple(map(list, zip(*gone, strict=True)))))
    return statements


def content(suffix: str) -> str:
    """Every experiment and tag."""
    return (
        f"select 0, experiment_id, name, artifact_location, deleted, lifecycle_at, creation_time, last_update_time "
        f"from experiments{suffix} union all select 1, experiment_id, key, value, null, null, null, null "
        f"from experiment_tags{suffix} order by 1, 2, 3"
    )


EXPERIMENTS: Final = Projection(
    name="experiments",
    revision=2,
    handles=frozenset(EXPERIMENT_EVENTS),
    tables=("experiments", "experiment_tags"),
    fold=fold,
    content=content,
)
