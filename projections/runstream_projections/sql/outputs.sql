create table model_outputs_vN (
    run_id   text    collate "C" not null,
    model_id text    collate "C" not null,
    step     bigint  not null,
    position bigint  not null,                      -- of the log, where it was named,
    place    integer not null,                      -- and its place there: the order in which they are shown
    primary key (run_id, model_id)
);
