"""The ``runs`` projection: what ``runs/get`` shows as ``info``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from runstream_projections.decisions import RUN_NAME_TAG
from runstream_projections.projection import Batch, Projection, Statement
from runstream_schemas.events import RunCreated, RunDeleted, RunLogged, RunRestored, RunUpdated

HANDLES: Final = (RunCreated, RunUpdated, RunDeleted, RunRestored, RunLogged)


@dataclass(slots=True)
class _Change:
    name: str | None = None
    status: str | None = None
    end_time: int | None = None
    deleted: bool | None = None
    lifecycle_at: int | None = None


def fold(batch: Batch, suffix: str) -> list[Statement]:
    """Insert what was created, then apply what changed, each run once."""
    created: dict[str, tuple[object, ...]] = {}
    changes: dict[str, _Change] = {}
    for effective in batch.of(*HANDLES):
        position, _, event, result = effective
        run_id = effective.run_id
        if isinstance(event, RunCreated):
            experiment_id = result if result is not None else event.experiment_id
            created[run_id] = (
                run_id, experiment_id, event.name, event.user_id, "RUNNING", event.start_time, None, False, position,
            )  # fmt: skip
            continue
        if isinstance(event, RunLogged) and RUN_NAME_TAG not in event.tags:
            continue
        change = changes.setdefault(run_id, _Change())
        if isinstance(event, RunLogged):
            change.name = event.tags[RUN_NAME_TAG]
        elif isinstance(event, RunUpdated):
            change.name = event.name or change.name
            change.status = event.status or change.status
            change.end_time = event.end_time if event.end_time is not None else change.end_time
        else:
            change.deleted, change.lifecycle_at = isinstance(event, RunDeleted), position
    return [*_created(created, suffix), *_changed(changes, suffix)]


def _created(rows: dict[str, tuple[object, ...]], suffix: str) -> list[Statement]:
    if not rows:
        return []
    sql = (
        f"insert into runs{suffix} "
        "(run_id, experiment_id, name, user_id, status, start_time, end_time, deleted, lifecycle_at) "
        "select * from unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bigint[], "
        "$7::bigint[], $8::boolean[], $9::bigint[])"
    )
    return [Statement(sql, tuple(map(list, zip(*rows.values(), strict=True))))]


def _changed(changes: dict[str, _Change], suffix: str) -> list[Statement]:
    if not changes:
        return []
    sql = (
        f"update runs{suffix} r set name = coalesce(t.name, r.name), status = coalesce(t.status, r.status), "
        "end_time = coalesce(t.end_time, r.end_time), deleted = coalesce(t.deleted, r.deleted), "
        "lifecycle_at = coalesce(t.lifecycle_at, r.lifecycle_at) "
        "from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::boolean[], $6::bigint[]) "
        "as t (run_id, name, status, end_time, deleted, lifecycle_at) where r.run_id = t.run_id"
    )
    values = changes.values()
    columns = (
        list(changes),
        [c.name for c in values],
        [c.status for c in values],
        [c.end_time for c in values],
        [c.deleted for c in values],
        [c.lifecycle_at for c in values],
    )
    return [Statement(sql, columns)]


def content(suffix: str) -> str:
    """Every run."""
    return f"select * from runs{suffix} order by run_id"


RUNS: Final = Projection(
    name="runs", revision=1, handles=frozenset(HANDLES), tables=("runs",), fold=fold, content=content
)
