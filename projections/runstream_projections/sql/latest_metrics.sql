create table latest_metrics_vN (
    run_id    text   collate "C" not null,
    key       text   collate "C" not null,
    value     double precision not null,
    step      bigint not null,
    timestamp bigint not null,                      -- milliseconds
    primary key (run_id, key)
) with (fillfactor = 45);                           -- room for each row's next value on its page: no index work
