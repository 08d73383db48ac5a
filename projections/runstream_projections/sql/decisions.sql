-- What deciding needs to know, and what was decided (design §5). Positions only grow, so do these rows.

create table decisions_vN (
    position    bigint primary key,
    verdict     text   collate "C" not null check (verdict in ('accepted', 'rejected', 'waiting')),
    decided_at  bigint,                     -- the position at which it took effect or was refused; null while waiting
    waits_for   text   collate "C",         -- the stream or event id that it waited for
    code        text   collate "C",
    message     text,
    result      bigint
);
create index decisions_vN_waiting on decisions_vN (waits_for, position) where verdict = 'waiting';
create index decisions_vN_late on decisions_vN (decided_at, position) where decided_at > position;

create table decision_experiments_vN (
    experiment_id bigint  primary key,
    name          text    collate "C" not null unique deferrable initially deferred,  -- names may swap
    deleted       boolean not null,
    lifecycle_at  bigint  not null          -- position of its last delete or restore, or of its creation
) with (fillfactor = 80);

create table decision_ensured_vN (
    event_id      uuid   primary key,
    experiment_id bigint not null
);

create table decision_runs_vN (
    run_id        text    collate "C" primary key,
    experiment_id bigint  not null,
    deleted       boolean not null,
    lifecycle_at  bigint  not null
) with (fillfactor = 90);

create table decision_params_vN (
    param  bytea primary key,               -- hash of (run, key)
    digest bytea not null                   -- hash of the value
);
alter table decision_params_vN alter column param set storage plain;
alter table decision_params_vN alter column digest set storage plain;

create table decision_tags_vN (
    tag bytea primary key                   -- hash of (stream or experiment, key): the tag is there
);
alter table decision_tags_vN alter column tag set storage plain;
