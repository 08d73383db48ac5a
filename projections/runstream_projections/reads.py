"""How single runs and experiments are read: one statement, so one snapshot, for each answer. SQL as data."""

from __future__ import annotations

from runstream_projections.run_json import INFO_JSON, documents_of, run_json
from runstream_projections.suffixes import Suffixes


def run_query(suffixes: Suffixes) -> str:
    """One run, whole, as JSON. Argument: run id."""
    return f"select {run_json(suffixes)} from runs{suffixes['runs']} r {documents_of(suffixes)} where r.run_id = $1"


def run_info_query(suffixes: Suffixes) -> str:
    """One run's info as JSON. Argument: run id."""
    return (
        f"select {INFO_JSON} from runs{suffixes['runs']} r "
        f"join experiments{suffixes['experiments']} e using (experiment_id) where r.run_id = $1"
    )


def experiments_with_tags(suffixes: Suffixes, *further: str) -> str:
    """Experiments, called ``e``, each with its tags as arrays, sorted by key; a WHERE may follow."""
    columns = "".join(f", {column}" for column in further)
    suffix = suffixes["experiments"]
    return (
        "select e.experiment_id, e.name, e.artifact_location, e.deleted, e.creation_time, e.last_update_time, "
        f"t.keys as tag_keys, t.values as tag_values{columns} "
        f"from experiments{suffix} e left join lateral (select array_agg(key order by key) as keys, "
        f"array_agg(value order by key) as values from experiment_tags{suffix} "
        "where experiment_id = e.experiment_id) t on true "
    )


def experiment_query(suffixes: Suffixes) -> str:
    """One experiment. Argument: its id."""
    return experiments_with_tags(suffixes) + "where e.experiment_id = $1"


def experiment_by_name_query(suffixes: Suffixes) -> str:
    """One experiment, active or deleted. Argument: its name."""
    return experiments_with_tags(suffixes) + "where e.name = $1"


def artifact_location_query(suffixes: Suffixes) -> str:
    """Where an experiment was told to keep its artifacts. Argument: its id."""
    return f"select artifact_location from experiments{suffixes['experiments']} where experiment_id = $1"


def logged_params_query(suffixes: Suffixes) -> str:
    """Some params of a run. Arguments: run id, keys."""
    return f"select key, value from params{suffixes['runs']} where run_id = $1 and key = any($2::text[])"


def tag_query(suffixes: Suffixes) -> str:
    """One tag of a run. Arguments: run id, key."""
    return f"select value from tags{suffixes['runs']} where run_id = $1 and key = $2"
