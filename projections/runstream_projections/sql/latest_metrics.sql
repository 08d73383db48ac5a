create table latest_metrics_vN (
    run_id        text   collate "C" not null,
    key           text   collate "C" not null,
    value         double precision not null,
    step          bigint not null,
    timestamp     bigint not null,                  -- milliseconds
    experiment_id bigint not null,
    primary key (run_id, key)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
create index latest_metrics_vN_value on latest_metrics_vN (experiment_id, key, value, run_id);

-- The rows of a run as JSON's list elements; null where they would be large (documents.py).
create table metric_documents_vN (
    run_id   text collate "C" primary key,
    document text
) with (fillfactor = 45, toast_tuple_target = 8160);  -- room for each run's next document on its page: no index work
alter table metric_documents_vN alter column document set storage external;
