"""The ``inputs`` projection: the datasets and models that runs use, in log order.

Within its experiment a dataset is its name and digest: who names it first describes it. A run uses it once: what is
logged again, with other tags, changes nothing. A model is only a name here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from hashlib import blake2b
from itertools import count
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from runstream_projections.projection import Batch, Projection, Statement
from runstream_schemas.events import Dataset, DatasetInput, RunInputsLogged

#: MLflow's tag that says what a run uses a dataset for.
CONTEXT_TAG: Final = "mlflow.data.context"

_encode = msgspec.json.Encoder().encode

#: Where a run names something: a position, and the place there. All that waited for the run takes effect at one.
_Place = tuple[int, int]


class _Use(NamedTuple):
    """What a run of an experiment uses, and where it says so."""

    place: _Place
    what: DatasetInput
    experiment_id: int | None


def dataset_key(name: str, digest: str) -> UUID:
    """Return 16 bytes that stand for a dataset of an experiment."""
    return UUID(bytes=blake2b(f"{name}\0{digest}".encode(), digest_size=16).digest())


def fold(batch: Batch, suffix: str) -> list[Statement]:
    """Insert what is new: the datasets and models that runs use."""
    uses: dict[tuple[str, UUID], _Use] = {}
    models: dict[tuple[str, str], _Place] = {}
    places: defaultdict[tuple[str, int], Iterator[int]] = defaultdict(count)
    for effective in batch.of(RunInputsLogged):
        event, run_id, position = effective.event, effective.run_id, effective.position
        assert isinstance(event, RunInputsLogged)
        place = places[run_id, position]
        for use in event.datasets:
            key = dataset_key(use.dataset.name, use.dataset.digest)
            uses.setdefault((run_id, key), _Use((position, next(place)), use, effective.experiment_id))
        for model_id in event.models:
            models.setdefault((run_id, model_id), (position, next(place)))
    return [*_datasets(uses, suffix), *_uses(uses, suffix), *_models(models, suffix)]


def _datasets(uses: dict[tuple[str, UUID], _Use], suffix: str) -> list[Statement]:
    """Describe the datasets that no earlier event of their experiment describes."""
    if not uses:
        return []
    sql = (
        f"insert into datasets{suffix} "
        "(experiment_id, dataset, name, digest, source_type, source, schema, profile) "
        "select experiment_id, dataset, name, digest, source_type, source, schema, profile "
        "from unnest($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[]) "
        "with ordinality as t (experiment_id, dataset, name, digest, source_type, source, schema, profile, number) "
        "order by number on conflict (experiment_id, dataset) do nothing"
    )
    described = [_description(use.what.dataset) for use in uses.values()]
    experiments = [use.experiment_id for use in uses.values()]
    return [Statement(sql, (experiments, [key for _, key in uses], *map(list, zip(*described, strict=True))))]


def _description(dataset: Dataset) -> tuple[str | None, ...]:
    return (
        dataset.name, dataset.digest, dataset.source_type, dataset.source, dataset.schema or None,
        dataset.profile or None,
    )  # fmt: skip


def _uses(uses: dict[tuple[str, UUID], _Use], suffix: str) -> list[Statement]:
    """Link runs to datasets, and note the contexts that are new in an experiment."""
    if not uses:
        return []
    sql = (
        f"with linked as (insert into dataset_inputs{suffix} "
        "(run_id, dataset, experiment_id, position, place, context, tags) "
        "select * from unnest($1::text[], $2::uuid[], $3::bigint[], $4::bigint[], $5::integer[], $6::text[], "
        "$7::text[]) on conflict (run_id, dataset) do nothing "
        "returning experiment_id, dataset, context) "
        f"insert into dataset_contexts{suffix} (experiment_id, dataset, context) select distinct * from linked "
        "on conflict do nothing"
    )
    tags = [use.what.tags for use in uses.values()]
    columns = (
        [run_id for run_id, _ in uses],
        [key for _, key in uses],
        [use.experiment_id for use in uses.values()],
        [use.place[0] for use in uses.values()],
        [use.place[1] for use in uses.values()],
        [tag.get(CONTEXT_TAG) for tag in tags],
        [_encode([{"key": key, "value": value} for key, value in tag.items()]).decode() for tag in tags],
    )
    return [Statement(sql, columns)]


def _models(models: dict[tuple[str, str], _Place], suffix: str) -> list[Statement]:
    if not models:
        return []
    sql = (
        f"insert into model_inputs{suffix} (run_id, model_id, position, place) "
        "select * from unnest($1::text[], $2::text[], $3::bigint[], $4::integer[]) "
        "on conflict (run_id, model_id) do nothing"
    )
    return [Statement(sql, tuple(map(list, zip(*((*key, *place) for key, place in models.items()), strict=True))))]


def content(suffix: str) -> str:
    """Every dataset, every use of one with its context in the experiment, every model that a run uses."""
    return (
        "select 0, experiment_id, dataset::text, name, digest, source_type, source, schema, profile, null::bigint, "
        f"null::integer from datasets{suffix} union all "
        "select 1, experiment_id, dataset::text, run_id, context, tags, null, null, null, position, place "
        f"from dataset_inputs{suffix} union all "
        "select 2, experiment_id, dataset::text, context, null, null, null, null, null, null, null "
        f"from dataset_contexts{suffix} union all "
        "select 3, null, null, run_id, model_id, null, null, null, null, position, place "
        f"from model_inputs{suffix} "
        "order by 1, 2, 3, 4, 5"
    )


def inputs_json(run: str, suffix: str) -> str:
    """An SQL expression of type text: the JSON of a run's ``inputs``; ``run`` is an SQL expression of the run's id.

    For a run that uses nothing it looks into two indexes. A column in ``run`` must name its table.
    """
    dataset = (
        "json_strip_nulls(json_build_object('name', used.name, 'digest', used.digest, "
        "'source_type', used.source_type, 'source', used.source, 'schema', used.schema, 'profile', used.profile))::text"
    )
    tags = "case when link.tags = '[]' then '' else '\"tags\":' || link.tags || ',' end"
    datasets = (
        f"select string_agg('{{' || {tags} || '\"dataset\":' || {dataset} || '}}', ',' "
        f"order by link.position, link.place) from dataset_inputs{suffix} link "
        f"join datasets{suffix} used using (experiment_id, dataset) where link.run_id = {run}"
    )
    models = (
        "select string_agg(json_build_object('model_id', model_id)::text, ',' order by position, place) "
        f"from model_inputs{suffix} where run_id = {run}"
    )
    # Most runs use nothing: a look for one row is cheaper than an aggregate of none.
    used = " or ".join(
        f"(select true from {table}{suffix} where run_id = {run} limit 1)"
        for table in ("dataset_inputs", "model_inputs")
    )
    return (
        f"case when {used} then (select '{{' || concat_ws(',', '\"dataset_inputs\":[' || datasets || ']', "
        "'\"model_inputs\":[' || models || ']') || '}' "
        f"from (select ({datasets}) as datasets, ({models}) as models) parts) else '{{}}' end"
    )


def dataset_summaries_query(suffix: str) -> str:
    """The datasets of experiments in each context they are used in. Arguments: experiment ids, how many at most."""
    return (
        "select experiment_id, name, digest, context from (select * "
        f"from dataset_contexts{suffix} where experiment_id = any($1::bigint[]) "
        "order by experiment_id, dataset, md5(context) limit $2) c "
        f"join datasets{suffix} using (experiment_id, dataset) order by experiment_id, name, digest, context"
    )


INPUTS: Final = Projection(
    name="inputs",
    revision=1,
    handles=frozenset({RunInputsLogged}),
    tables=("datasets", "dataset_inputs", "dataset_contexts", "model_inputs"),
    fold=fold,
    content=content,
)
