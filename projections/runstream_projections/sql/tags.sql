create table tags_vN (
    run_id text collate "C" not null,
    key    text collate "C" not null,
    value  text not null,
    primary key (run_id, key)
) with (fillfactor = 90);
