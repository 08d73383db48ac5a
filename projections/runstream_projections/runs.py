"""The ``runs`` projection: what a run is now, but for its metrics: info, params and tags, and their documents."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from runstream_projections import params, tags
from runstream_projections.decisions import MODEL_HISTORY_TAG, RUN_NAME_TAG
from runstream_projections.documents import document, pair_json, pairs_document
from runstream_projections.projection import Batch, Effective, Projection, Statement
from runstream_schemas.events import (
    RUN_EVENTS,
    RunCreated,
    RunDeleted,
    RunInputsLogged,
    RunLogged,
    RunModelLogged,
    RunOutputsLogged,
    RunRestored,
    RunUpdated,
)


@dataclass(slots=True)
class _Run:
    """What a batch does to one run; ``created`` is where it begins in it, and then all that it has is known."""

    created: Effective | None = None
    name: str | None = None
    status: str | None = None
    end_time: int | None = None
    deleted: bool | None = None
    lifecycle_at: int | None = None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str | None] = field(default_factory=dict)
    linked: bool = False


def fold(batch: Batch, suffix: str) -> list[Statement]:
    """Change the rows of params and tags, then the runs and the documents of their rows, each run once."""
    events = list(batch.of(*RUN_EVENTS))
    runs: dict[str, _Run] = {}
    for effective in events:
        _change(runs.setdefault(effective.run_id, _Run()), effective)
    return [
        *params.insert(events, suffix),
        *tags.change(events, suffix),
        *_created({run_id: run for run_id, run in runs.items() if run.created is not None}, suffix),
        *_changed({run_id: run for run_id, run in runs.items() if run.created is None}, suffix),
    ]


def _change(run: _Run, effective: Effective) -> None:
    event = effective.event
    run.tags.update(tags.set_by(effective))
    if isinstance(event, RunLogged):
        run.params = event.params | run.params  # the first of equal keys stays
        run.name = event.tags.get(RUN_NAME_TAG, run.name)
    elif isinstance(event, RunCreated):
        run.created = effective
        run.name, run.status, run.deleted, run.lifecycle_at = event.name, "RUNNING", False, effective.position
    elif isinstance(event, RunUpdated):
        run.name = event.name or run.name
        run.status = event.status or run.status
        run.end_time = event.end_time if event.end_time is not None else run.end_time
    elif isinstance(event, RunModelLogged):
        run.tags[MODEL_HISTORY_TAG] = tags.appended(run.tags.get(MODEL_HISTORY_TAG), event.entry)
    elif isinstance(event, RunInputsLogged | RunOutputsLogged):
        run.linked = True
    elif isinstance(event, RunDeleted | RunRestored):
        run.deleted, run.lifecycle_at = isinstance(event, RunDeleted), effective.position


def _created(runs: dict[str, _Run], suffix: str) -> list[Statement]:
    if not runs:
        return []
    rows: list[tuple[object, ...]] = []
    for run_id, run in runs.items():
        assert run.created is not None
        event = run.created.event
        assert isinstance(event, RunCreated)
        known = {key: value for key, value in run.tags.items() if value is not None}
        rows.append(
            (
                run_id, run.created.experiment_id, run.name, event.user_id, run.status, event.start_time, run.end_time,
                run.deleted, run.lifecycle_at, run.linked, pairs_document(run.params), pairs_document(known),
            )
        )  # fmt: skip
    sql = (
        f"insert into runs{suffix} (run_id, experiment_id, name, user_id, status, start_time, end_time, deleted, "
        "lifecycle_at, linked, params, tags) select * from unnest($1::text[], $2::bigint[], $3::text[], $4::text[], "
        "$5::text[], $6::bigint[], $7::bigint[], $8::boolean[], $9::bigint[], $10::boolean[], $11::text[], $12::text[])"
    )
    return [Statement(sql, tuple(map(list, zip(*rows, strict=True))))]


def _changed(runs: dict[str, _Run], suffix: str) -> list[Statement]:
    """A document that is null stays so: the run is wide."""
    if not runs:
        return []
    made = {
        name: f"case when t.{name} and r.{name} is not null "
        f"then {document(name + suffix, 't.run_id', pair_json('x'), 'length(x.value)')} else r.{name} end"
        for name in ("params", "tags")
    }
    sql = (
        f"update runs{suffix} r set name = coalesce(t.name, r.name), status = coalesce(t.status, r.status), "
        "end_time = coalesce(t.end_time, r.end_time), deleted = coalesce(t.deleted, r.deleted), "
        f"lifecycle_at = coalesce(t.lifecycle_at, r.lifecycle_at), linked = r.linked or t.linked, "
        f"params = {made['params']}, tags = {made['tags']} "
        "from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::boolean[], $6::bigint[], $7::boolean[], "
        "$8::boolean[], $9::boolean[]) "
        "as t (run_id, name, status, end_time, deleted, lifecycle_at, linked, params, tags) "
        "where r.run_id = t.run_id"
    )
    values = runs.values()
    arguments = (
        list(runs),
        [r.name for r in values],
        [r.status for r in values],
        [r.end_time for r in values],
        [r.deleted for r in values],
        [r.lifecycle_at for r in values],
        [r.linked for r in values],
        [bool(r.params) for r in values],
        [bool(r.tags) for r in values],
    )
    return [Statement(sql, arguments)]


def content(suffix: str) -> str:
    """Every run, param and tag; documents say nothing that these do not."""
    pairs = "run_id, key, value, null, experiment_id, null, null, null, null, null"
    return (
        "select 0, run_id, name, user_id, status, experiment_id, start_time, end_time, deleted, lifecycle_at, linked "
        f"from runs{suffix} union all select 1, {pairs} from params{suffix} "
        f"union all select 2, {pairs} from tags{suffix} order by 1, 2, 3"
    )


RUNS: Final = Projection(
    name="runs",
    revision=2,
    handles=frozenset(RUN_EVENTS),
    tables=("runs", "params", "tags"),
    fold=fold,
    content=content,
)
