"""SQL that renders a run as the API answers it: MLflow's JSON, lists that are empty left out as protobuf does.

The run's row is called ``r``, its experiment's ``e``, and that of its metrics' document ``d``, which may be missing.
"""

from __future__ import annotations

from typing import Final

from runstream_projections.documents import elements, metric_json, pair_json
from runstream_projections.suffixes import Suffixes

#: A run is deleted by the later of its own and its experiment's last delete or restore.
IS_DELETED: Final = "case when e.lifecycle_at > r.lifecycle_at then e.deleted else r.deleted end"

#: Where a run's artifacts are.
ARTIFACT_URI: Final = "e.artifact_prefix || r.run_id || e.artifact_suffix"

#: A run's ``info``.
INFO_JSON: Final = (
    """'{"run_id":' || to_json(r.run_id) || ',"run_uuid":' || to_json(r.run_id) || ',"run_name":' || """
    """to_json(r.name) || """
    """',"experiment_id":"' || r.experiment_id || '","user_id":' || to_json(r.user_id) || ',"status":' || """
    """to_json(r.status) || ',"start_time":' || r.start_time || """
    """coalesce(',"end_time":' || nullif(r.end_time, 0), '') || """  # as in stock, 0 is not shown
    f"""',"artifact_uri":' || to_json({ARTIFACT_URI}) || ',"lifecycle_stage":' || """
    f"""case when {IS_DELETED} then '"deleted"}}' else '"active"}}' end"""
)


def run_json(suffixes: Suffixes) -> str:
    """A run, whole."""
    runs, metrics = suffixes["runs"], f"latest_metrics{suffixes['latest_metrics']}"
    lists = {
        "metrics": f"case when d.run_id is not null "
        f"then coalesce(d.document, {elements(metrics, 'r.run_id', metric_json('x'))}) end",
        "params": f"coalesce(r.params, {elements(f'params{runs}', 'r.run_id', pair_json('x'))})",
        "tags": f"coalesce(r.tags, {elements(f'tags{runs}', 'r.run_id', pair_json('x'))})",
    }
    data = ", ".join(f"""'"{name}":[' || nullif({made}, '') || ']'""" for name, made in lists.items())
    return (
        f"""'{{"info":' || {INFO_JSON} || ',"data":{{' || concat_ws(',', {data}) || """
        """'},"inputs":{},"outputs":{}}'"""
    )


def documents_of(suffixes: Suffixes) -> str:
    """The tables of ``run_json`` other than the run's: to be joined to ``r``."""
    return (
        f"join experiments{suffixes['experiments']} e on e.experiment_id = r.experiment_id "
        f"left join metric_documents{suffixes['latest_metrics']} d on d.run_id = r.run_id"
    )
