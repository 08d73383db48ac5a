-- Datasets by experiment, as who named each first described it.
create table datasets_vN (
    experiment_id bigint not null,
    dataset       uuid   not null,                  -- hash of (name, digest), which may be too long for an index
    name          text   collate "C" not null,
    digest        text   collate "C" not null,
    source_type   text   not null,
    source        text   not null,
    schema        text,
    profile       text,
    primary key (experiment_id, dataset)
);
create index datasets_vN_name on datasets_vN (experiment_id, left(name, 128));
create index datasets_vN_digest on datasets_vN (experiment_id, left(digest, 128));

-- Which run uses which dataset, with the tags of that use.
create table dataset_inputs_vN (
    run_id        text     collate "C" not null,
    dataset       uuid     not null,
    experiment_id bigint   not null,
    position      bigint   not null,                -- of the log, where it was named,
    place         integer  not null,                -- and its place there: the order in which they are shown
    context       text     collate "C",             -- its tag mlflow.data.context
    tags          text     not null,                -- a JSON list, as the API answers it
    primary key (run_id, dataset)
);
create index dataset_inputs_vN_runs on dataset_inputs_vN (experiment_id, dataset, run_id);
create index dataset_inputs_vN_context on dataset_inputs_vN (experiment_id, left(context, 128), run_id)
    where context is not null;

-- The contexts in which an experiment's runs use its datasets: what search-datasets lists.
create table dataset_contexts_vN (
    experiment_id bigint not null,
    dataset       uuid   not null,
    context       text   collate "C"
);
-- A context may be too long for an index; those of one dataset are few.
create unique index dataset_contexts_vN_all on dataset_contexts_vN (experiment_id, dataset, md5(context))
    nulls not distinct;

create table model_inputs_vN (
    run_id   text    collate "C" not null,
    model_id text    collate "C" not null,
    position bigint  not null,
    place    integer not null,
    primary key (run_id, model_id)
);
