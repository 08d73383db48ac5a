create table latest_metrics_vN (
    run_id    text   collate "C" not null,
    key       text   collate "C" not null,
    value     double precision not null,
    step      bigint not null,
    timestamp bigint not null,                      -- milliseconds
    primary key (run_id, key)
) with (fillfactor = 70);                           -- room for the next value on the same page, without index work
