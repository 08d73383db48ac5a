create table runs_vN (
    run_id        text     collate "C" primary key,
    experiment_id bigint   not null,
    name          text     not null,
    user_id       text     not null,
    status        text     collate "C" not null,
    start_time    bigint   not null,               -- milliseconds
    end_time      bigint,
    deleted       boolean  not null,               -- by its own last delete or restore, at:
    lifecycle_at  bigint   not null                -- its experiment's later one overrides it
) with (fillfactor = 80);
create index runs_vN_newest on runs_vN (experiment_id, start_time desc, run_id);
