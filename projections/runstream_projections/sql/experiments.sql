create table experiments_vN (
    experiment_id     bigint  primary key,
    name              text    collate "C" not null,
    artifact_location text,                         -- null: the server's own, below mlflow-artifacts:/
    artifact_prefix   text    not null,             -- what a run's artifact URI has before, and after, the run's id
    artifact_suffix   text    not null,
    deleted           boolean not null,
    lifecycle_at      bigint  not null,             -- position of its creation, or last delete or restore
    creation_time     bigint  not null,             -- milliseconds
    last_update_time  bigint  not null
) with (fillfactor = 80);
create index experiments_vN_name on experiments_vN (name);

create table experiment_tags_vN (
    experiment_id bigint not null,
    key           text   collate "C" not null,
    value         text   collate "C" not null,
    primary key (experiment_id, key)
);
