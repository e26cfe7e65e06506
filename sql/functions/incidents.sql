-- What the compiled code does with incidents where speed does not matter. Called under the lock of the context.

create function converge_ledger.fork_entries(context text, "sequence" bigint)
    returns table (incident_id bigint, place text, lamport bigint, origin text, key text, payload bytea, contested boolean)
    language sql stable parallel unsafe
begin atomic
    select candidate.incident_id, candidate.place, candidate.lamport, candidate.origin, candidate.key, candidate.payload,
           exists (
               select from converge_ledger.entries as live
                where live.context_id = fork_entries.context and live.sequence = candidate.first
                  and live.origin = candidate.origin)
      from (
          select i.incident_id, null::text as place, i.lamport, i.origin, i.key, i.payload, i.sequence as first
            from converge_ledger.incidents i
           where i.context_id = fork_entries.context and i.kind = 'fork' and i.sequence = fork_entries.sequence
             and i.resolved_at is null and i.payload is not null
          union all
          select i.incident_id, e.ctid::text, e.lamport, e.origin, e.key, e.payload, i.sequence
            from converge_ledger.incident_entries e
            join converge_ledger.incidents i on i.incident_id = e.incident_id
           where e.context_id = fork_entries.context and e.sequence = fork_entries.sequence
             and i.kind = 'fork' and i.resolved_at is null and e.payload is not null
      ) as candidate
     order by candidate.lamport, candidate.origin;
end;
comment on function converge_ledger.fork_entries(text, bigint) is
    'quarantined entries with this place in a context, whose content is kept';

create function converge_ledger.take_back(incident bigint, place text) returns void
    language plpgsql volatile parallel unsafe
    set search_path = pg_catalog, pg_temp
as $function$
begin
    if place is null then
        insert into converge_ledger.entries (sequence, lamport, appended_at, format, context_id, origin, key, id, payload,
                                             metadata, salt, leaf_hash, content_digest)
        select i.sequence, i.lamport, i.appended_at, i.format, i.context_id, i.origin, i.key, i.id, i.payload,
               i.metadata, i.salt, i.leaf_hash, i.content_digest
          from converge_ledger.incidents i where i.incident_id = take_back.incident;
        -- Not taken after all: it stays where it is.
        if not found then
            return;
        end if;
    else
        insert into converge_ledger.entries (sequence, lamport, appended_at, format, context_id, origin, key, id, payload,
                                             metadata, salt, leaf_hash, content_digest)
        select e.sequence, e.lamport, e.appended_at, e.format, e.context_id, e.origin, e.key, e.id, e.payload,
               e.metadata, e.salt, e.leaf_hash, e.content_digest
          from converge_ledger.incident_entries e where e.ctid = take_back.place::tid;
        if not found then
            return;
        end if;
        delete from converge_ledger.incident_entries e where e.ctid = take_back.place::tid;
        return;
    end if;
    -- The incident goes on with the next entry of its branch.
    if not converge_ledger.begin_incident_with_first(incident) then
        update converge_ledger.incidents i
           set resolved_at = clock_timestamp(), resolution = 'continues the context after all'
         where i.incident_id = take_back.incident;
    end if;
end
$function$;
comment on function converge_ledger.take_back(bigint, text) is
    'puts a quarantined entry at its place, through the trigger that judges it';

create function converge_ledger.begin_incident_with_first(incident bigint) returns boolean
    language plpgsql volatile parallel unsafe
    set search_path = pg_catalog, pg_temp
as $function$
declare
    first record;
begin
    select e.ctid as place, e.* into first
      from converge_ledger.incidents i
      join converge_ledger.incident_entries e on e.context_id = i.context_id and e.incident_id = i.incident_id
     where i.incident_id = incident
     order by e.sequence limit 1;
    if not found then
        return false;
    end if;
    update converge_ledger.incidents i
       set sequence = first.sequence, lamport = first.lamport, appended_at = first.appended_at, format = first.format,
           key = first.key, id = first.id, payload = first.payload, metadata = first.metadata, salt = first.salt,
           leaf_hash = first.leaf_hash, content_digest = first.content_digest
     where i.incident_id = incident;
    delete from converge_ledger.incident_entries e where e.ctid = first.place;
    return true;
end
$function$;
comment on function converge_ledger.begin_incident_with_first(bigint) is
    'makes the first further entry of an incident its own; false if it has none';

create function converge_ledger.add_to_incident(incident bigint, added bigint) returns void
    language sql volatile parallel unsafe
begin atomic
    insert into converge_ledger.incident_entries
    select incident, i.sequence, i.lamport, i.appended_at, i.format, i.context_id, i.origin, i.key, i.id, i.payload,
           i.metadata, i.salt, i.leaf_hash, i.content_digest, i.source, i.found_at
      from converge_ledger.incidents i
     where i.incident_id = added;
end;
comment on function converge_ledger.add_to_incident(bigint, bigint) is
    'copies the entry of one incident into the further entries of another, or of itself';

create function converge_ledger.tidy_forks(context text) returns void
    language plpgsql volatile parallel unsafe
    set search_path = pg_catalog, pg_temp
as $function$
declare
    fork record;
begin
    -- Two who delivered at once may have begun one each.
    for fork in
        select i.incident_id,
               first_value(i.incident_id) over (partition by i.origin order by i.incident_id) as kept
          from converge_ledger.incidents i
         where i.context_id = context and i.kind = 'fork' and i.resolved_at is null
    loop
        continue when fork.kept = fork.incident_id;
        update converge_ledger.incident_entries e
           set incident_id = fork.kept
         where e.context_id = context and e.incident_id = fork.incident_id;
        perform converge_ledger.add_to_incident(fork.kept, fork.incident_id);
        delete from converge_ledger.incidents i where i.incident_id = fork.incident_id;
    end loop;
    -- What came later may stand before what came first.
    for fork in
        select i.incident_id
          from converge_ledger.incidents i
         where i.context_id = context and i.kind = 'fork' and i.resolved_at is null
           and exists (
                   select from converge_ledger.incident_entries e
                    where e.context_id = i.context_id and e.incident_id = i.incident_id and e.sequence < i.sequence)
    loop
        perform converge_ledger.add_to_incident(fork.incident_id, fork.incident_id);
        perform converge_ledger.begin_incident_with_first(fork.incident_id);
    end loop;
end
$function$;
comment on function converge_ledger.tidy_forks(text) is
    'one open incident for each forked branch of a context, with the first entry of the branch';
