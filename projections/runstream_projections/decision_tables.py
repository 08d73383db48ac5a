"""The tables of the ``decisions`` projection: what deciding a batch must read, and what it writes. SQL as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from runstream_projections.decisions import (
    DIGEST_BYTES,
    HASH_BYTES,
    Changes,
    Claim,
    Decision,
    experiment_owner,
    key_hash,
)
from runstream_projections.projection import Statement
from runstream_schemas.events import (
    ExperimentCreated,
    ExperimentEnsured,
    ExperimentRenamed,
    ExperimentTagDeleted,
    RunCreated,
    RunLogged,
    RunTagDeleted,
)
from runstream_schemas.ids import RUN_PREFIX, run_of

NAME: Final = "decisions"
REVISION: Final = 1
TABLES: Final = (
    "decisions",
    "decision_experiments",
    "decision_ensured",
    "decision_runs",
    "decision_params",
    "decision_tags",
)


class Needs(NamedTuple):
    """The keys whose state a batch of claims is decided from."""

    runs: set[str]
    experiments: set[int]
    names: set[str]
    ensured: set[UUID]
    params: list[bytes]
    tags: list[bytes]


def needs(claims: Sequence[Claim]) -> Needs:
    """Return what deciding ``claims`` may look at."""
    found = Needs(set(), set(), set(), set(), [], [])
    for claim in claims:
        event, stream = claim.event, claim.stream
        if stream.startswith(RUN_PREFIX):
            found.runs.add(run_of(stream))
        if isinstance(event, RunLogged):
            found.params.extend(param for param, _ in claim.params)
        elif isinstance(event, RunCreated):
            if event.experiment_id is not None:
                found.experiments.add(event.experiment_id)
            if event.ensured_by is not None:
                found.ensured.add(event.ensured_by)
        elif isinstance(event, RunTagDeleted):
            found.tags.append(key_hash(stream, event.key))
        elif isinstance(event, ExperimentCreated | ExperimentEnsured):
            found.names.add(event.name)
        elif hasattr(event, "experiment_id"):
            found.experiments.add(event.experiment_id)
            if isinstance(event, ExperimentRenamed):
                found.names.add(event.name)
            elif isinstance(event, ExperimentTagDeleted):
                found.tags.append(key_hash(experiment_owner(event.experiment_id), event.key))
    return found


#: Arguments: run ids. Runs with their experiments' state.
RUNS: Final = """
select r.run_id, r.experiment_id, r.deleted, r.lifecycle_at, e.name, e.deleted, e.lifecycle_at
  from decision_runs_vN r join decision_experiments_vN e using (experiment_id)
 where r.run_id = any($1::text[])"""

#: Arguments: run ids. The experiment of each that was created; it never changes.
EXPERIMENTS_OF_RUNS: Final = "select run_id, experiment_id from decision_runs_vN where run_id = any($1::text[])"

#: Arguments: experiment ids, names, ids of ensuring events. The last column is the ensuring event or null.
EXPERIMENTS: Final = """
select e.experiment_id, e.name, e.deleted, e.lifecycle_at, null::uuid
  from decision_experiments_vN e where e.experiment_id = any($1::bigint[])
union all
select e.experiment_id, e.name, e.deleted, e.lifecycle_at, null::uuid
  from decision_experiments_vN e where e.name = any($2::text[])
union all
select e.experiment_id, e.name, e.deleted, e.lifecycle_at, d.event_id
  from decision_ensured_vN d join decision_experiments_vN e using (experiment_id)
 where d.event_id = any($3::uuid[])"""

NEXT_EXPERIMENT: Final = "select coalesce(max(experiment_id) + 1, 0) from decision_experiments_vN"

#: Argument: hashes of (run, key), one after the other. An array of them would cost asyncpg 0.3 us each to encode.
PARAMS: Final = f"""
select param, digest from decision_params_vN where param = any(array(
    select substring($1::bytea from i * {HASH_BYTES} + 1 for {HASH_BYTES})
      from generate_series(0, length($1::bytea) / {HASH_BYTES} - 1) i))"""

#: Arguments: hashes of (owner, key).
TAGS: Final = "select tag from decision_tags_vN where tag = any($1::bytea[])"

#: Arguments: keys that events wait for. How many wait for each.
WAITING_COUNTS: Final = """
select waits_for, count(*) from decisions_vN
 where verdict = 'waiting' and waits_for = any($1::text[]) group by waits_for"""

#: Arguments: keys that events wait for. Their positions, in order.
WAITING: Final = """
select waits_for, position from decisions_vN
 where verdict = 'waiting' and waits_for = any($1::text[]) order by position"""

#: Arguments: positions. The stored decisions among them.
DECISIONS: Final = """
select position, verdict, code, message, result, waits_for from decisions_vN where position = any($1::bigint[])"""

#: Arguments: after, up to. Decisions of the events in a range, and of earlier ones decided in it.
DECIDED: Final = """
select position, verdict, decided_at, result from decisions_vN where position > $1 and position <= $2
union all
select position, verdict, decided_at, result from decisions_vN
 where decided_at > $1 and decided_at <= $2 and decided_at > position and position <= $1"""


def content(suffix: str) -> str:
    """Everything that was decided and that deciding goes on from, in an order of its own."""
    return (
        f"select 0, position::text, verdict, decided_at::text, waits_for, code, message, result::text "
        f"from decisions{suffix} "
        f"union all select 1, experiment_id::text, name, deleted::text, lifecycle_at::text, null, null, null "
        f"from decision_experiments{suffix} "
        f"union all select 2, event_id::text, experiment_id::text, null, null, null, null, null "
        f"from decision_ensured{suffix} "
        f"union all select 3, run_id, experiment_id::text, deleted::text, lifecycle_at::text, null, null, null "
        f"from decision_runs{suffix} "
        f"union all select 4, param::text, digest::text, null, null, null, null, null from decision_params{suffix} "
        f"union all select 5, tag::text, null, null, null, null, null, null from decision_tags{suffix} order by 1, 2"
    )


def changed_query(before: str, after: str) -> str:
    """Positions that two versions decide differently, with both verdicts (null: accepted), and how many there are.

    Arguments: after, up to, limit. Both are seen as they were at ``up to``; what was settled by ``after`` is left out.
    """
    return (
        "select position, b.verdict as before, a.verdict as after, count(*) over () as count "
        f"from ({_decided_within(before)}) b full join ({_decided_within(after)}) a using (position) "
        "where (b.verdict, b.decided_at, b.code, b.message, b.result) "
        "is distinct from (a.verdict, a.decided_at, a.code, a.message, a.result) order by position limit $3"
    )


def _decided_within(suffix: str) -> str:
    settled = "decided_at <= $2"
    columns = ", ".join(f"case when {settled} then {name} end as {name}" for name in ("code", "message", "result"))
    return (
        f"select position, case when {settled} then verdict else 'waiting' end as verdict, "
        f"case when {settled} then decided_at end as decided_at, {columns} from decisions{suffix} "
        "where position <= $2 "
        "and (position > $1 or (decided_at > $1 and decided_at > position) or verdict = 'waiting')"
    )


def changes_to_statements(changes: Changes, suffix: str) -> list[Statement]:
    """Return the statements that store a decided batch: none for the commonest, which only logs metrics."""
    statements: list[Statement] = []
    if not changes:
        return statements

    def add(sql: str, *columns: Sequence[object]) -> None:
        if columns[0]:
            statements.append(Statement(sql.replace("_vN", suffix), columns))

    rows, late = with_early(changes)
    add(
        "insert into decisions_vN (position, verdict, decided_at, waits_for, code, message, result) "
        "select * from unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], "
        "$7::bigint[])",
        [position for position, _, _ in rows],
        [d.verdict for _, _, d in rows],
        [at for _, at, _ in rows],
        [d.waits_for for _, _, d in rows],
        [d.code for _, _, d in rows],
        [d.message for _, _, d in rows],
        [d.result for _, _, d in rows],
    )
    add(
        "update decisions_vN d set verdict = t.verdict, code = t.code, message = t.message, result = t.result, "
        "decided_at = t.at "
        "from unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bigint[]) "
        "as t (position, at, verdict, code, message, result) where d.position = t.position",
        [position for position, _, _ in late],
        [at for _, at, _ in late],
        [d.verdict for _, _, d in late],
        [d.code for _, _, d in late],
        [d.message for _, _, d in late],
        [d.result for _, _, d in late],
    )
    runs = changes.runs
    add(
        "insert into decision_runs_vN (run_id, experiment_id, deleted, lifecycle_at) "
        "select * from unnest($1::text[], $2::bigint[], $3::boolean[], $4::bigint[]) "
        "on conflict (run_id) do update set deleted = excluded.deleted, lifecycle_at = excluded.lifecycle_at",
        list(runs),
        [r.experiment_id for r in runs.values()],
        [r.lifecycle.deleted for r in runs.values()],
        [r.lifecycle.at for r in runs.values()],
    )
    statements.extend(_experiment_statements(changes, suffix))
    add(
        f"insert into decision_params_vN (param, digest) "
        f"select substring($1::bytea from i * {HASH_BYTES} + 1 for {HASH_BYTES}), "
        f"substring($2::bytea from i * {DIGEST_BYTES} + 1 for {DIGEST_BYTES}) "
        f"from generate_series(0, length($2::bytea) / {DIGEST_BYTES} - 1) i",
        b"".join(changes.params),
        b"".join(changes.params.values()),
    )
    add(
        "insert into decision_tags_vN (tag) select unnest($1::bytea[]) on conflict do nothing",
        [tag for tag, there in changes.tags.items() if there],
    )
    add(
        "delete from decision_tags_vN where tag = any($1::bytea[])",
        [tag for tag, there in changes.tags.items() if not there],
    )
    return statements


Decided = tuple[int, int | None, Decision]


def with_early(changes: Changes) -> tuple[list[Decided], list[Decided]]:
    """Return (position, decided at, decision) of the rows to insert, and of earlier rows to settle.

    What waited and was released in the same batch is one insert: no row is written twice by one transaction.
    """
    settled = {claim.position: (at, decision) for claim, at, decision in changes.late}
    rows: list[Decided] = []
    for position, decision in changes.decisions.items():
        if decision.verdict == "waiting" and position in settled:
            at, after = settled.pop(position)
            rows.append((position, at, after._replace(waits_for=decision.waits_for)))
        else:
            rows.append((position, None if decision.verdict == "waiting" else position, decision))
    return rows, [(position, at, decision) for position, (at, decision) in settled.items()]


def _experiment_statements(changes: Changes, suffix: str) -> list[Statement]:
    statements = []
    experiments = changes.experiments
    if experiments:
        columns = (
            list(experiments),
            [e.name for e in experiments.values()],
            [e.lifecycle.deleted for e in experiments.values()],
            [e.lifecycle.at for e in experiments.values()],
        )
        sql = (
            "insert into decision_experiments_vN (experiment_id, name, deleted, lifecycle_at) "
            "select * from unnest($1::bigint[], $2::text[], $3::boolean[], $4::bigint[]) "
            "on conflict (experiment_id) do update set name = excluded.name, deleted = excluded.deleted, "
            "lifecycle_at = excluded.lifecycle_at"
        )
        statements.append(Statement(sql.replace("_vN", suffix), columns))
    if changes.ensured:
        sql = "insert into decision_ensured_vN (event_id, experiment_id) select * from unnest($1::uuid[], $2::bigint[])"
        ensured = (list(changes.ensured), list(changes.ensured.values()))
        statements.append(Statement(sql.replace("_vN", suffix), ensured))
    return statements
