"""The ``tags`` projection: a run's tags, the last value of each."""

from __future__ import annotations

from typing import Final

from runstream_projections.decisions import MODEL_HISTORY_TAG, RUN_NAME_TAG
from runstream_projections.projection import Batch, Projection, Statement
from runstream_schemas.events import RunCreated, RunLogged, RunModelLogged, RunTagDeleted, RunUpdated

HANDLES: Final = (RunCreated, RunLogged, RunUpdated, RunTagDeleted, RunModelLogged)

#: The longest history of models, in characters: MLflow's greatest length of a tag's value.
MAX_HISTORY: Final = 8000


def appended(history: str, entries: str) -> str:
    """Return a JSON list with entries, joined by commas, behind those it has; what is no list stays as it is.

    What would be too long is cut, and is no list then: so many entries at once make what they make one by one.
    """
    if len(history) < 2 or history[0] != "[" or history[-1] != "]":
        return history
    longer = f"{history[:-1]}, {entries}]" if history != "[]" else f"[{entries}]"
    return longer if len(longer) <= MAX_HISTORY else longer[:MAX_HISTORY].rstrip("]")


def fold(batch: Batch, suffix: str) -> list[Statement]:
    """Set what was set last and delete what was deleted last. A run's name is its tag ``mlflow.runName`` too."""
    tags: dict[tuple[str, str], str | None] = {}
    histories: dict[str, list[str]] = {}
    for effective in batch.of(*HANDLES):
        event, run_id = effective.event, effective.run_id
        if isinstance(event, RunModelLogged):
            if (run_id, MODEL_HISTORY_TAG) in tags:
                history = tags[run_id, MODEL_HISTORY_TAG]
                tags[run_id, MODEL_HISTORY_TAG] = appended("[]" if history is None else history, event.entry)
            else:
                histories.setdefault(run_id, []).append(event.entry)
        if isinstance(event, RunLogged | RunCreated):
            for key, value in event.tags.items():
                tags[run_id, key] = value
        if isinstance(event, RunTagDeleted):
            tags[run_id, event.key] = None
        elif isinstance(event, RunCreated | RunUpdated) and event.name:
            tags[run_id, RUN_NAME_TAG] = event.name
    lengthened = sorted((run, entries) for run, entries in histories.items() if (run, MODEL_HISTORY_TAG) not in tags)
    return [*_set(tags, suffix), *_lengthened(lengthened, suffix)]


def _set(tags: dict[tuple[str, str], str | None], suffix: str) -> list[Statement]:
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


def _lengthened(histories: list[tuple[str, list[str]]], suffix: str) -> list[Statement]:
    """Append to histories that the table may hold, by the rule of :func:`appended`; a new one is set."""
    if not histories:
        return []
    sql = (
        f"insert into tags{suffix} as t (run_id, key, value) "
        f"select run_id, '{MODEL_HISTORY_TAG}', value from unnest($1::text[], $2::text[]) as n (run_id, value) "
        "on conflict (run_id, key) do update set value = case when t.value = '[]' then excluded.value "
        f"else (select case when length(longer) <= {MAX_HISTORY} then longer "
        f"else rtrim(left(longer, {MAX_HISTORY}), ']') end "
        "from (values (left(t.value, -1) || ', ' || substr(excluded.value, 2))) as l (longer)) end "
        "where t.value like '[%]'"
    )
    new = [appended("[]", ", ".join(entries)) for _, entries in histories]
    return [Statement(sql, ([run for run, _ in histories], new))]


def content(suffix: str) -> str:
    """Every tag."""
    return f"select * from tags{suffix} order by run_id, key"


TAGS: Final = Projection(
    name="tags", revision=1, handles=frozenset(HANDLES), tables=("tags",), fold=fold, content=content
)
