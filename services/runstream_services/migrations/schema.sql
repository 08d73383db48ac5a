-- What all migrations together make: to read, and compared with them by the tests. Written by
-- `python -m tests.schema_file`; a change of the schema is a new migration, never a change of an old one.

CREATE SCHEMA runstream;
CREATE FUNCTION runstream.append_events(head_position bigint, head_chain bytea, origin integer, origin_next bigint, origin_then bigint, at bigint, events json, payloads bytea[], hashes bytea, chains bytea, decider_version integer, decider_owner uuid, decider_epoch bigint, lease_s double precision) RETURNS void
    LANGUAGE plpgsql
    AS $$
declare
    n    constant integer := cardinality(payloads);
    room bigint;
begin
    update log_head
       set position = head_position + n, chain = substring(chains from 32 * (n - 1) + 1 for 32), recorded_at = at
     where position = head_position and chain = head_chain
    returning partitioned_to into room;
    if not found then
        raise exception 'the head of the log is no longer at %', head_position using errcode = 'RS001';
    end if;
    update log_origins set next_offset = origin_then where id = origin and next_offset = origin_next;
    if not found then
        raise exception 'origin % does not continue at offset %', origin, origin_next using errcode = 'RS002';
    end if;
    if room <= head_position + n then
        perform extend_event_log(head_position + n);
    end if;
    with t as materialized (
        select * from rows from (
            json_to_recordset(events) as (event_id uuid, stream text, type text, version smallint, actor text,
                                          sent_at bigint, writer text, sequence bigint, origin_offset bigint),
            unnest(payloads)
        ) with ordinality as t (event_id, stream, type, version, actor, sent_at, writer, sequence, origin_offset,
                                payload, i)
    ), ids as (
        insert into event_ids (event_id, position) select event_id, head_position + i from t
    )
    insert into event_log (position, recorded_at, sent_at, origin_offset, sequence, origin_id, version, event_id,
                           stream, type, actor, writer, payload_sha256, chain, payload)
    select head_position + i, at, sent_at, origin_offset, sequence, origin, version, event_id,
           stream, type, actor, writer,
           substring(hashes from 32 * i::integer - 31 for 32), substring(chains from 32 * i::integer - 31 for 32), payload
      from t;
    if decider_version is not null then
        update projections set position = head_position + n, lease_until = now() + make_interval(secs => lease_s)
         where name = 'decisions' and version = decider_version and position = head_position
           and owner = decider_owner and epoch = decider_epoch;
        if not found then
            raise exception 'decisions_v% does not stand at % for this owner', decider_version, head_position
                using errcode = 'RS003';
        end if;
    end if;
end $$;
CREATE FUNCTION runstream.extend_event_log(needed bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'runstream'
    AS $$
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
CREATE FUNCTION runstream.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    raise exception 'the event log is append-only: % on % is refused', tg_op, tg_table_name
        using errcode = 'RS100', hint = 'Events are corrected by later events, never changed.';
end $$;
CREATE TABLE runstream.dead_letters (
    id bigint NOT NULL,
    recorded_at bigint NOT NULL,
    origin_id integer NOT NULL,
    origin_offset bigint NOT NULL,
    reason text NOT NULL,
    bytes bytea NOT NULL
);
ALTER TABLE runstream.dead_letters ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME runstream.dead_letters_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE runstream.event_ids (
    event_id uuid NOT NULL,
    "position" bigint NOT NULL
);
CREATE TABLE runstream.event_log (
    "position" bigint NOT NULL,
    recorded_at bigint NOT NULL,
    sent_at bigint NOT NULL,
    origin_offset bigint NOT NULL,
    sequence bigint,
    origin_id integer NOT NULL,
    version smallint NOT NULL,
    event_id uuid NOT NULL,
    stream text NOT NULL COLLATE pg_catalog."C",
    type text NOT NULL COLLATE pg_catalog."C",
    actor text COLLATE pg_catalog."C",
    writer text COLLATE pg_catalog."C",
    payload_sha256 bytea NOT NULL,
    chain bytea NOT NULL,
    payload bytea
)
PARTITION BY RANGE ("position");
ALTER TABLE ONLY runstream.event_log ALTER COLUMN payload_sha256 SET STORAGE PLAIN;
ALTER TABLE ONLY runstream.event_log ALTER COLUMN chain SET STORAGE PLAIN;
ALTER TABLE ONLY runstream.event_log ALTER COLUMN payload SET STORAGE EXTERNAL;
CREATE TABLE runstream.event_log_0 (
    "position" bigint CONSTRAINT event_log_position_not_null NOT NULL,
    recorded_at bigint CONSTRAINT event_log_recorded_at_not_null NOT NULL,
    sent_at bigint CONSTRAINT event_log_sent_at_not_null NOT NULL,
    origin_offset bigint CONSTRAINT event_log_origin_offset_not_null NOT NULL,
    sequence bigint,
    origin_id integer CONSTRAINT event_log_origin_id_not_null NOT NULL,
    version smallint CONSTRAINT event_log_version_not_null NOT NULL,
    event_id uuid CONSTRAINT event_log_event_id_not_null NOT NULL,
    stream text CONSTRAINT event_log_stream_not_null NOT NULL COLLATE pg_catalog."C",
    type text CONSTRAINT event_log_type_not_null NOT NULL COLLATE pg_catalog."C",
    actor text COLLATE pg_catalog."C",
    writer text COLLATE pg_catalog."C",
    payload_sha256 bytea CONSTRAINT event_log_payload_sha256_not_null NOT NULL,
    chain bytea CONSTRAINT event_log_chain_not_null NOT NULL,
    payload bytea
);
ALTER TABLE ONLY runstream.event_log_0 ALTER COLUMN payload_sha256 SET STORAGE PLAIN;
ALTER TABLE ONLY runstream.event_log_0 ALTER COLUMN chain SET STORAGE PLAIN;
ALTER TABLE ONLY runstream.event_log_0 ALTER COLUMN payload SET STORAGE EXTERNAL;
CREATE TABLE runstream.log_head (
    one boolean DEFAULT true NOT NULL,
    log_id uuid NOT NULL,
    "position" bigint NOT NULL,
    chain bytea NOT NULL,
    recorded_at bigint NOT NULL,
    partition_events bigint NOT NULL,
    partitioned_to bigint NOT NULL,
    CONSTRAINT log_head_one_check CHECK (one)
);
CREATE TABLE runstream.log_origins (
    id integer NOT NULL,
    topic text NOT NULL COLLATE pg_catalog."C",
    partition integer NOT NULL,
    next_offset bigint NOT NULL
);
ALTER TABLE runstream.log_origins ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME runstream.log_origins_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE runstream.migrations (
    number integer NOT NULL,
    file text NOT NULL
);
CREATE TABLE runstream.parked_events (
    name text NOT NULL COLLATE pg_catalog."C",
    version integer NOT NULL,
    "position" bigint NOT NULL,
    stream text NOT NULL COLLATE pg_catalog."C",
    reason text NOT NULL
);
CREATE TABLE runstream.projections (
    name text NOT NULL COLLATE pg_catalog."C",
    version integer NOT NULL,
    revision integer NOT NULL,
    state text NOT NULL COLLATE pg_catalog."C",
    "position" bigint NOT NULL,
    owner uuid,
    epoch bigint DEFAULT 0 NOT NULL,
    lease_until timestamp with time zone,
    CONSTRAINT projections_state_check CHECK ((state = ANY (ARRAY['building'::text, 'checking'::text, 'live'::text, 'retired'::text])))
)
WITH (fillfactor='50');
ALTER TABLE ONLY runstream.event_log ATTACH PARTITION runstream.event_log_0 FOR VALUES FROM ('0') TO ('4194304');
ALTER TABLE ONLY runstream.dead_letters
    ADD CONSTRAINT dead_letters_origin_id_origin_offset_key UNIQUE (origin_id, origin_offset);
ALTER TABLE ONLY runstream.dead_letters
    ADD CONSTRAINT dead_letters_pkey PRIMARY KEY (id);
ALTER TABLE ONLY runstream.event_ids
    ADD CONSTRAINT event_ids_pkey PRIMARY KEY (event_id);
ALTER TABLE ONLY runstream.event_log
    ADD CONSTRAINT event_log_pkey PRIMARY KEY ("position");
ALTER TABLE ONLY runstream.event_log_0
    ADD CONSTRAINT event_log_0_pkey PRIMARY KEY ("position");
ALTER TABLE ONLY runstream.log_head
    ADD CONSTRAINT log_head_pkey PRIMARY KEY (one);
ALTER TABLE ONLY runstream.log_origins
    ADD CONSTRAINT log_origins_pkey PRIMARY KEY (id);
ALTER TABLE ONLY runstream.log_origins
    ADD CONSTRAINT log_origins_topic_partition_key UNIQUE (topic, partition);
ALTER TABLE ONLY runstream.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (number);
ALTER TABLE ONLY runstream.parked_events
    ADD CONSTRAINT parked_events_pkey PRIMARY KEY (name, version, "position", stream);
ALTER TABLE ONLY runstream.projections
    ADD CONSTRAINT projections_pkey PRIMARY KEY (name, version);
CREATE INDEX event_log_stream ON ONLY runstream.event_log USING btree (stream, "position");
CREATE INDEX event_log_0_stream_position_idx ON runstream.event_log_0 USING btree (stream, "position");
CREATE INDEX parked_events_stream ON runstream.parked_events USING btree (name, version, stream);
CREATE UNIQUE INDEX projections_live ON runstream.projections USING btree (name) WHERE (state = 'live'::text);
ALTER INDEX runstream.event_log_pkey ATTACH PARTITION runstream.event_log_0_pkey;
ALTER INDEX runstream.event_log_stream ATTACH PARTITION runstream.event_log_0_stream_position_idx;
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON runstream.event_ids FOR EACH STATEMENT EXECUTE FUNCTION runstream.refuse_change();
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON runstream.event_log FOR EACH STATEMENT EXECUTE FUNCTION runstream.refuse_change();
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON runstream.event_log_0 FOR EACH STATEMENT EXECUTE FUNCTION runstream.refuse_change();
ALTER TABLE ONLY runstream.parked_events
    ADD CONSTRAINT parked_events_name_version_fkey FOREIGN KEY (name, version) REFERENCES runstream.projections(name, version) ON DELETE CASCADE;
GRANT USAGE ON SCHEMA runstream TO runstream_service;
REVOKE ALL ON FUNCTION runstream.extend_event_log(needed bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION runstream.extend_event_log(needed bigint) TO runstream_service;
GRANT SELECT,INSERT ON TABLE runstream.dead_letters TO runstream_service;
GRANT SELECT,INSERT ON TABLE runstream.event_ids TO runstream_service;
GRANT SELECT,INSERT ON TABLE runstream.event_log TO runstream_service;
GRANT SELECT,UPDATE ON TABLE runstream.log_head TO runstream_service;
GRANT SELECT,INSERT,UPDATE ON TABLE runstream.log_origins TO runstream_service;
GRANT SELECT,INSERT,DELETE ON TABLE runstream.parked_events TO runstream_service;
GRANT SELECT,UPDATE ON TABLE runstream.projections TO runstream_service;
