-- Which projections there are, which version of each is read, how far each is, and who moves it (design §5).

create table projections (
    name        text    collate "C" not null,
    version     integer not null,             -- suffix of its tables; a rebuild makes the next
    revision    integer not null,             -- of the code's definition that its tables follow
    state       text    collate "C" not null 
        check (state in ('building', 'checking', 'live', 'retired')),
    position    bigint  not null,             -- the checkpoint: the last event that its rows contain
    owner       uuid,
    epoch       bigint  not null default 0,   -- grows with every change of owner: a paused owner that wakes up fails
    lease_until timestamptz,
    primary key (name, version)
) with (fillfactor = 50);
create unique index projections_live on projections (name) where state = 'live';

-- An event that a projection cannot fold waits here, and later events of its stream behind it; others go on.
create table parked_events (
    name     text   collate "C" not null,
    version  integer not null,
    position bigint not null,
    stream   text   collate "C" not null,
    reason   text   not null,
    primary key (name, version, position, stream),  -- one position can release events of several streams
    foreign key (name, version) references projections on delete cascade
);
create index parked_events_stream on parked_events (name, version, stream);
