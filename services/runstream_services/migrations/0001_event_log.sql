-- The event log: one total order, append-only, refused to change by the database itself (design §4).

create table log_head (
    one              boolean primary key default true check (one),
    log_id           uuid        not null,
    position         bigint      not null,  -- the last one given; 0 in an empty log
    chain            bytea       not null,  -- its hash; 32 zero bytes in an empty log
    recorded_at      bigint      not null,  -- its time, microseconds since the epoch; never decreases
    partition_events bigint      not null,  -- positions per partition of event_log
    partitioned_to   bigint      not null   -- the first position that has no partition yet
);

create table log_origins (
    id          integer generated always as identity primary key,
    topic       text    collate "C" not null,
    partition   integer not null,
    next_offset bigint  not null,
    unique (topic, partition)
);

create table event_ids (
    event_id uuid   primary key,
    position bigint not null
);

create table event_log (
    position       bigint   not null,
    recorded_at    bigint   not null,
    sent_at        bigint   not null,
    origin_offset  bigint   not null,
    sequence       bigint,
    origin_id      integer  not null,
    version        smallint not null,
    event_id       uuid     not null,
    stream         text     collate "C" not null,
    type           text     collate "C" not null,
    actor          text     collate "C",
    writer         text     collate "C",
    payload_sha256 bytea    not null,
    chain          bytea    not null,
    payload        bytea,                   -- zstd; null once erased
    primary key (position)
) partition by range (position);
alter table event_log alter column payload set storage external;
alter table event_log alter column payload_sha256 set storage plain;
alter table event_log alter column chain set storage plain;
create index event_log_stream on event_log (stream, position);

create table dead_letters (
    id            bigint generated always as identity primary key,
    recorded_at   bigint  not null,
    origin_id     integer not null,
    origin_offset bigint  not null,
    reason        text    not null,
    bytes         bytea   not null,
    unique (origin_id, origin_offset)
);

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'the event log is append-only: % on % is refused', tg_op, tg_table_name
        using errcode = 'RS100', hint = 'Events are corrected by later events, never changed.';
end $$;

create trigger append_only before update or delete or truncate on event_log
    for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on event_ids
    for each statement execute function refuse_change();

-- A statement trigger of the parent does not guard a statement on a partition: each partition gets its own.
create function extend_event_log(needed bigint) returns void
    language plpgsql security definer set search_path from current as $$
declare
    size  bigint;
    start bigint;
begin
    select partition_events, partitioned_to into size, start from log_head for update;
    while start <= needed loop
        -- Made, then attached: a table created as a partition would wait for every reader of the log to end.
        execute format('create table event_log_%s (like event_log including defaults including storage)', start);
        execute format('alter table event_log attach partition event_log_%s for values from (%s) to (%s)',
                       start, start, start + size);
        execute format('create trigger append_only before update or delete or truncate on event_log_%s '
                       'for each statement execute function refuse_change()', start);
        start := start + size;
    end loop;
    update log_head set partitioned_to = start;
end $$;
