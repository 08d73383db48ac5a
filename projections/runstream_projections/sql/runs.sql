create table runs_vN (
    run_id        text     collate "C" primary key,
    experiment_id bigint   not null,
    name          text     not null,
    user_id       text     not null,
    status        text     collate "C" not null,
    start_time    bigint   not null,               -- milliseconds
    end_time      bigint,
    deleted       boolean  not null,               -- by its own last delete or restore, at:
    lifecycle_at  bigint   not null,               -- its experiment's later one overrides it
    linked        boolean  not null,               -- it has inputs or outputs, in projections of their own
    params        text,                            -- documents of the rows in params_vN and tags_vN, as JSON's
    tags          text                             -- list elements; null where they would be large (documents.py)
) with (fillfactor = 75, toast_tuple_target = 8160);  -- a page of runs is read without looking elsewhere
alter table runs_vN alter column params set storage external;
alter table runs_vN alter column tags set storage external;
create index runs_vN_newest on runs_vN (experiment_id, start_time desc, run_id);

-- What runs are found by. An index row has at most 2,704 bytes, and long values do not compress below that for certain.
create table params_vN (
    run_id        text   collate "C" not null,
    key           text   collate "C" not null,
    value         text   collate "C" not null,
    experiment_id bigint not null,
    primary key (run_id, key)
);
create index params_vN_value on params_vN (experiment_id, key, left(value, 128), run_id);

create table tags_vN (
    run_id        text   collate "C" not null,
    key           text   collate "C" not null,
    value         text   collate "C" not null,
    experiment_id bigint not null,
    primary key (run_id, key)
) with (fillfactor = 90);
create index tags_vN_value on tags_vN (experiment_id, key, left(value, 128), run_id);
