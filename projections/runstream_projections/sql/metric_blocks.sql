-- What was just logged: one row per run and folded batch, all keys mixed, in log order; small and short-lived.
create table metric_tail_vN (
    run_id        text    collate "C" not null,
    position      bigint  not null,                 -- of the last event in it
    points        integer not null,
    min_timestamp bigint  not null,
    max_timestamp bigint  not null,
    data          bytea   not null,                 -- chunk.py
    primary key (run_id, position)
) with (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 2000
);
alter table metric_tail_vN alter column data set storage external;

-- What compaction made of it: rows of one merge are sorted by key and time, and do not overlap.
create table metric_blocks_vN (
    run_id        text     collate "C" not null,
    since         bigint   not null,                -- position of the oldest tail row merged into it
    part          integer  not null,                -- order of the rows of one merge
    level         smallint not null,
    points        integer  not null,
    min_timestamp bigint   not null,
    max_timestamp bigint   not null,
    min_step      bigint   not null,
    max_step      bigint   not null,
    key_first     text     collate "C" not null,
    key_last      text     collate "C" not null,
    data          bytea    not null,
    summary_keys  text[]   collate "C",             -- the keys of which it holds many points,
    summaries     bytea,                            -- and a summary of each: pyramid.py
    primary key (run_id, since, part)
) with (autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_scale_factor = 0.05);
alter table metric_blocks_vN alter column data set storage external;
