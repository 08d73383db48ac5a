-- One append, one call, one commit: the head and the origin move by compare-and-set, or nothing does.
--   RS001 the head is not the one expected      RS002 the origin's next offset is not the one expected
--   RS003 the decisions' checkpoint or lease is not the one expected
--   23505 an event id is in the log already (the caller leaves it out and appends again)
-- With a decider, its checkpoint moves along: what it decided commits with what it decided on.
-- Events come as a JSON array of their columns, which costs a client a twentieth of as many arrays; their payloads as an
-- array; their hashes, of 32 bytes each, one after the other.
create function append_events(
    head_position bigint, head_chain bytea, origin integer, origin_next bigint, origin_then bigint, at bigint,
    events json, payloads bytea[], hashes bytea, chains bytea,
    decider_version integer, decider_owner uuid, decider_epoch bigint, lease_s double precision
) returns void language plpgsql as $$
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
