"""How the tables are read: one statement, so one snapshot, for each answer. SQL as data.

``suffixes`` maps the name of each projection in :data:`RUN_PROJECTIONS` or :data:`EXPERIMENT_PROJECTIONS` to the
ending of the table names of the version that is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from runstream_projections.inputs import inputs_json
from runstream_projections.outputs import outputs_json

#: What an answer about runs, or about experiments, is read from.
RUN_PROJECTIONS: Final = ("runs", "experiments", "params", "tags", "latest_metrics", "inputs", "outputs")
RUN_INFO_PROJECTIONS: Final = ("runs", "experiments")
EXPERIMENT_PROJECTIONS: Final = ("experiments",)

Suffixes = Mapping[str, str]


def _run_info(suffixes: Suffixes) -> str:
    """Runs with their effective lifecycle: the later of their own and their experiment's last delete or restore."""
    return (
        "select r.run_id, r.experiment_id, r.name, r.user_id, r.status, r.start_time, r.end_time, "
        "e.artifact_location, "
        "case when e.lifecycle_at > r.lifecycle_at then e.deleted else r.deleted end as deleted "
        f"from runs{suffixes['runs']} r join experiments{suffixes['experiments']} e using (experiment_id) "
    )


def _with_data(runs: str, suffixes: Suffixes) -> str:
    """Those runs with their metrics, params and tags as arrays, sorted by key, their inputs and outputs as JSON."""
    return (
        f"select r.*, m.keys as metric_keys, m.values as metric_values, m.steps as metric_steps, "
        "m.timestamps as metric_timestamps, p.keys as param_keys, p.values as param_values, "
        "t.keys as tag_keys, t.values as tag_values, "
        f"{inputs_json('r.run_id', suffixes['inputs'])} as inputs, "
        f"{outputs_json('r.run_id', suffixes['outputs'])} as outputs from ({runs}) r "
        "left join lateral (select array_agg(key order by key) as keys, array_agg(value order by key) as values, "
        "array_agg(step order by key) as steps, array_agg(timestamp order by key) as timestamps "
        f"from latest_metrics{suffixes['latest_metrics']} where run_id = r.run_id) m on true "
        "left join lateral (select array_agg(key order by key) as keys, array_agg(value order by key) as values "
        f"from params{suffixes['params']} where run_id = r.run_id) p on true "
        "left join lateral (select array_agg(key order by key) as keys, array_agg(value order by key) as values "
        f"from tags{suffixes['tags']} where run_id = r.run_id) t on true"
    )


def run_query(suffixes: Suffixes) -> str:
    """One run, whole. Argument: run id."""
    return _with_data(_run_info(suffixes) + "where r.run_id = $1", suffixes)


def run_info_query(suffixes: Suffixes) -> str:
    """One run without its data. Argument: run id."""
    return _run_info(suffixes) + "where r.run_id = $1"


def runs_page_query(suffixes: Suffixes) -> str:
    """A page of experiments' runs, newest first.

    Arguments: experiment ids; deleted (true, false, or null for both); start time and run id that the page follows (or
    nulls); how many.
    """
    page = (
        f"select * from ({_run_info(suffixes)}) r where experiment_id = any($1::bigint[]) "
        "and ($2::boolean is null or deleted = $2) "
        "and ($3::bigint is null or start_time < $3 or (start_time = $3 and run_id > $4)) "
        "order by start_time desc, run_id limit $5"
    )
    return _with_data(page, suffixes) + " order by r.start_time desc, r.run_id"


def _experiment(suffixes: Suffixes) -> str:
    suffix = suffixes["experiments"]
    return (
        "select e.experiment_id, e.name, e.artifact_location, e.deleted, e.creation_time, e.last_update_time, "
        "t.keys as tag_keys, t.values as tag_values "
        f"from experiments{suffix} e left join lateral (select array_agg(key order by key) as keys, "
        f"array_agg(value order by key) as values from experiment_tags{suffix} "
        "where experiment_id = e.experiment_id) t on true "
    )


def experiment_query(suffixes: Suffixes) -> str:
    """One experiment. Argument: its id."""
    return _experiment(suffixes) + "where e.experiment_id = $1"


def experiment_by_name_query(suffixes: Suffixes) -> str:
    """One experiment, active or deleted. Argument: its name."""
    return _experiment(suffixes) + "where e.name = $1"


def artifact_location_query(suffixes: Suffixes) -> str:
    """Where an experiment was told to keep its artifacts. Argument: its id."""
    return f"select artifact_location from experiments{suffixes['experiments']} where experiment_id = $1"


def logged_params_query(suffixes: Suffixes) -> str:
    """Some params of a run. Arguments: run id, keys."""
    return f"select key, value from params{suffixes['params']} where run_id = $1 and key = any($2::text[])"


def tag_query(suffixes: Suffixes) -> str:
    """One tag of a run. Arguments: run id, key."""
    return f"select value from tags{suffixes['tags']} where run_id = $1 and key = $2"


#: Comparisons of a name by the operators of MLflow's grammar; the value is an argument.
_NAME_TESTS: Final = {"=": "e.name = {}", "!=": "e.name <> {}", "LIKE": "e.name like {}", "ILIKE": "e.name ilike {}"}

#: Columns that experiments can be ordered by.
ORDER_COLUMNS: Final = {
    "creation_time": "e.creation_time",
    "last_update_time": "e.last_update_time",
    "name": "e.name",
    "experiment_id": "e.experiment_id",
}


def experiments_page_query(suffixes: Suffixes, operators: list[str], order_by: list[tuple[str, bool]]) -> str:
    """A page of experiments. Arguments: deleted (or null for both), how many, how many to skip, then compared names.

    ``operators`` compare the experiment's name with those, and all hold; ``order_by`` are (attribute, ascending).
    """
    tests = "".join(
        " and " + _NAME_TESTS[operator].format(f"${number}::text") for number, operator in enumerate(operators, 4)
    )
    keys = [f"{ORDER_COLUMNS[name]} {'asc' if ascending else 'desc'}" for name, ascending in order_by]
    where = f"where ($1::boolean is null or e.deleted = $1){tests} "
    return _experiment(suffixes) + where + f"order by {', '.join(keys)} limit $2 offset $3"
