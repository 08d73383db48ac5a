"""The rows of tags, in the ``runs`` projection: a run's tags, the last value of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from runstream_projections.decisions import MODEL_HISTORY_TAG, RUN_NAME_TAG
from runstream_projections.projection import Effective, Statement, columns, texts
from runstream_schemas.events import RunCreated, RunLogged, RunModelLogged, RunTagDeleted, RunUpdated

#: The longest history of models, in characters: MLflow's greatest length of a tag's value.
MAX_HISTORY: Final = 8000

#: What became of a tag: its run and key, its value (None: it was deleted), and the run's experiment.
_Tags = dict[tuple[str, str], tuple[str | None, int | None]]


def appended(history: str | None, entries: str) -> str:
    """Return a JSON list (None: there is none yet) with entries, joined by commas, behind those it has.

    What is no list stays as it is. What would be too long is cut, and is no list then: so many entries at once make
    what they make one by one.
    """
    if history is None:
        history = "[]"
    if len(history) < 2 or history[0] != "[" or history[-1] != "]":
        return history
    longer = f"{history[:-1]}, {entries}]" if history != "[]" else f"[{entries}]"
    return longer if len(longer) <= MAX_HISTORY else longer[:MAX_HISTORY].rstrip("]")


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
    """Set what was set last, delete what was deleted last, and lengthen histories of models."""
    tags: _Tags = {}
    histories: dict[str, list[Effective]] = {}
    for effective in batch:
        event, run_id, experiment_id = effective.event, effective.run_id, effective.experiment_id
        if isinstance(event, RunModelLogged):
            known = tags.get((run_id, MODEL_HISTORY_TAG))
            if known is None:
                histories.setdefault(run_id, []).append(effective)
            else:
                tags[run_id, MODEL_HISTORY_TAG] = (appended(known[0], event.entry), experiment_id)
        for key, value in set_by(effective).items():
            tags[run_id, key] = (value, experiment_id)
    lengthened = [found for run_id, found in sorted(histories.items()) if (run_id, MODEL_HISTORY_TAG) not in tags]
    return [*_set(tags, suffix), *_deleted(tags, suffix), *_lengthened(lengthened, suffix)]


def _set(tags: _Tags, suffix: str) -> list[Statement]:
    kept = sorted((run, key, value, number) for (run, key), (value, number) in tags.items() if value is not None)
    if not kept:
        return []
    runs, keys, values, experiments = map(list, zip(*kept, strict=True))
    sql = (
        f"insert into tags{suffix} (run_id, key, value, experiment_id) "
        f"select * from {columns('text', 'text', 'text', 'bigint')} "
        "on conflict (run_id, key) do update set value = excluded.value"
    )
    return [Statement(sql, (texts(runs), texts(keys), texts(values), experiments))]


def _deleted(tags: _Tags, suffix: str) -> list[Statement]:
    gone = sorted(pair for pair, (value, _) in tags.items() if value is None)
    if not gone:
        return []
    sql = (
        f"delete from tags{suffix} d using unnest($1::text[], $2::text[]) as t (run_id, key) "
        "where d.run_id = t.run_id and d.key = t.key"
    )
    return [Statement(sql, tuple(map(list, zip(*gone, strict=True))))]


def _lengthened(histories: list[list[Effective]], suffix: str) -> list[Statement]:
    """Append to histories that the table may hold, by the rule of :func:`appended`; a new one is set."""
    if not histories:
        return []
    sql = (
        f"insert into tags{suffix} as t (run_id, key, value, experiment_id) "
        f"select run_id, '{MODEL_HISTORY_TAG}', value, experiment_id "
        "from unnest($1::text[], $2::text[], $3::bigint[]) as n (run_id, value, experiment_id) "
        "on conflict (run_id, key) do update set value = case when t.value = '[]' then excluded.value "
        f"else (select case when length(longer) <= {MAX_HISTORY} then longer "
        f"else rtrim(left(longer, {MAX_HISTORY}), ']') end "
        "from (values (left(t.value, -1) || ', ' || substr(excluded.value, 2))) as l (longer)) end "
        "where t.value like '[%]'"
    )
    entries = [[e.event.entry for e in found if isinstance(e.event, RunModelLogged)] for found in histories]
    new = [appended(None, ", ".join(of_run)) for of_run in entries]
    firsts = [found[0] for found in histories]
    return [Statement(sql, ([e.run_id for e in firsts], new, [e.experiment_id for e in firsts]))]
