-- What the compiled code does with incidents where speed does not matter. Called under the lock of the context.

create function converge_ledger.fork_entries(context text, "sequence" bigint)
    returns table (incident_id bigint, lamport bigint, origin text, key text, payload bytea, contested boolean)
    language sql stable parallel unsafe
begin atomic
    select candidate.incident_id, candidate.lamport, candidate.origin, candidate.key, candidate.payload,
           candidate.kind = 'fork' and not candidate.recorded and exists (
               select from converge_ledger.entries as live
                where live.context_id = fork_entries.context and live.sequence = candidate.first
                  and live.origin = candidate.origin and live.leaf_hash <> candidate.first_leaf)
      from (
          select i.incident_id, i.kind, i.lamport, i.origin, i.key, i.id, i.payload, i.sequence as first, i.leaf_hash as first_leaf,
                 false as recorded
            from converge_ledger.incidents i
           where i.context_id = fork_entries.context and i.kind in ('fork', 'duplicate id')
             and i.sequence = fork_entries.sequence and i.resolved_at is null and i.payload is not null
          union all
          select i.incident_id, i.kind, e.lamport, e.origin, e.key, e.id, e.payload, i.sequence, i.leaf_hash,
                 coalesce(i.resolution ~ '^(keep_mine|abandoned),', false)
            from converge_ledger.incident_entries e
            join converge_ledger.incidents i on i.incident_id = e.incident_id
           where e.context_id = fork_entries.context and e.sequence = fork_entries.sequence
             and i.kind = 'fork' and e.payload is not null
             -- Who delivered without the lock may have added it after its incident was closed here.
             and (i.resolved_at is null
                  or i.resolution in ('continues the context after all', 'joined with another incident of its fork')
                  or i.resolution like 'keep_theirs:%'
                  -- What came after the decision against a branch need not be of it.
                  or i.resolution ~ '^(keep_mine|abandoned)[:,]' and e.arrived_at > i.resolved_at)
      ) as candidate
     -- The id of an entry before it is taken; one behind it gives way.
     where candidate.id = ''
        or not exists (
               select from converge_ledger.entries as live
                where live.context_id = fork_entries.context and live.id = candidate.id
                  and live.sequence < fork_entries.sequence)
     order by candidate.lamport, candidate.origin;
end;
comment on function converge_ledger.fork_entries(text, bigint) is
    'quarantined entries with this place in a context, whose content is kept';

create function converge_ledger.take_back(incident bigint, "from" bigint, most bigint) returns void
    language plpgsql volatile parallel unsafe
    set search_path = pg_catalog, pg_temp
as $function$
declare
    context text;
    is_open boolean;
    is_decided boolean;
    since timestamptz;
    last bigint;
begin
    -- The incident's own entry, if it has one, is treated like the others of its branch. Of one that was decided against, only what
    -- came later is.
    select i.context_id, i.resolved_at is null and i.leaf_hash is not null, coalesce(i.resolution ~ '^(keep_mine|keep_theirs|abandoned)[:,]', false),
           case when i.resolution ~ '^(keep_mine|abandoned)[:,]' then i.resolved_at else '-infinity' end
      into context, is_open, is_decided, since from converge_ledger.incidents i where i.incident_id = incident;
    if is_open then
        perform converge_ledger.add_to_incident(incident, incident);
    end if;
    select max(run.sequence) into last
      from (
          select e.sequence, dense_rank() over (order by e.sequence) as place
            from (
                select m.sequence
                  from converge_ledger.incident_entries m
                 where m.context_id = context and m.sequence >= "from" and m.sequence - "from" < most
                   and m.incident_id = incident and m.payload is not null and m.arrived_at > since
            ) as e
      ) as run
     where run.sequence = "from" + run.place - 1;
    -- The incident goes on with what is left, so that those that are put back are not taken for a part of it.
    if not is_decided and not converge_ledger.begin_incident_with_first(incident, "from", last) then
        update converge_ledger.incidents i
           set resolved_at = clock_timestamp(), resolution = 'continues the context after all'
         where i.incident_id = incident;
    end if;
    -- Those that are refused are kept again.
    with taken as (
        delete from converge_ledger.incident_entries e
         where e.context_id = context and e.sequence between "from" and last and e.incident_id = incident
           and e.payload is not null and e.arrived_at > since
     returning e.*
    )
    insert into converge_ledger.entries (sequence, lamport, appended_at, format, context_id, origin, key, id, payload,
                                         metadata, salt, leaf_hash, content_digest)
    select t.sequence, t.lamport, t.appended_at, t.format, t.context_id, t.origin, t.key, t.id, t.payload,
           t.metadata, t.salt, t.leaf_hash, t.content_digest
      from taken t
     order by t.sequence;
end
$function$;
comment on function converge_ledger.take_back(bigint, bigint, bigint) is
    'puts quarantined entries of one branch that follow each other back at their places, through the trigger that judges them';

create function converge_ledger.begin_incident_with_first(incident bigint, taken_from bigint default null, taken_to bigint default null)
    returns boolean
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
       and (taken_from is null or e.sequence not between taken_from and taken_to)
     order by e.sequence limit 1;
    if not found then
        return false;
    end if;
    update converge_ledger.incidents i
       set sequence = first.sequence, lamport = first.lamport, appended_at = first.appended_at, format = first.format,
           key = first.key, id = first.id, payload = first.payload, metadata = first.metadata, salt = first.salt,
           leaf_hash = first.leaf_hash, content_digest = first.content_digest, resolved_at = null, resolution = null
     where i.incident_id = incident;
    delete from converge_ledger.incident_entries e where e.ctid = first.place;
    return true;
end
$function$;
comment on function converge_ledger.begin_incident_with_first(bigint, bigint, bigint) is
    'makes the first further entry of an incident its own, not one of those that are taken, and opens it; false if there is none';

create function converge_ledger.end_incident_entry(incident bigint) returns void
    language plpgsql volatile parallel unsafe
    set search_path = pg_catalog, pg_temp
as $function$
begin
    if not converge_ledger.begin_incident_with_first(incident) then
        update converge_ledger.incidents i
           set resolved_at = clock_timestamp(), resolution = 'continues the context after all'
         where i.incident_id = incident;
    end if;
end
$function$;
comment on function converge_ledger.end_incident_entry(bigint) is
    'the context holds the first entry of an incident: it goes on with the next entry of its branch, or is resolved';

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
    -- Who delivered without the lock may have added to one after it was closed here.
    for fork in
        select i.incident_id
          from converge_ledger.incidents i
         where i.context_id = context and i.kind = 'fork'
           and i.resolution in ('continues the context after all', 'joined with another incident of its fork')
           and exists (
                   select from converge_ledger.incident_entries e
                    where e.context_id = i.context_id and e.incident_id = i.incident_id)
    loop
        perform converge_ledger.begin_incident_with_first(fork.incident_id);
    end loop;
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
        update converge_ledger.incidents i
           set resolved_at = clock_timestamp(), resolution = 'joined with another incident of its fork'
         where i.incident_id = fork.incident_id;
    end loop;
    -- Both may have kept the same entry.
    delete from converge_ledger.incident_entries e
     using converge_ledger.incident_entries other
     where e.context_id = context and other.context_id = e.context_id and other.incident_id = e.incident_id
       and other.sequence = e.sequence and other.leaf_hash = e.leaf_hash and other.ctid < e.ctid;
    delete from converge_ledger.incident_entries e
     using converge_ledger.incidents i
     where e.context_id = context and i.incident_id = e.incident_id and i.sequence = e.sequence and i.leaf_hash = e.leaf_hash
       and i.kind = 'fork' and i.resolved_at is null;
    -- What was kept aside may have come again, and to its place.
    delete from converge_ledger.incident_entries e
     using converge_ledger.incidents i, converge_ledger.entries held
     where e.context_id = context and i.incident_id = e.incident_id and i.kind = 'fork' and i.resolved_at is null
       and held.context_id = e.context_id and held.sequence = e.sequence and held.leaf_hash = e.leaf_hash;
    for fork in
        select i.incident_id
          from converge_ledger.incidents i
          join converge_ledger.entries held
            on held.context_id = i.context_id and held.sequence = i.sequence and held.leaf_hash = i.leaf_hash
         where i.context_id = context and i.kind = 'fork' and i.resolved_at is null
    loop
        perform converge_ledger.end_incident_entry(fork.incident_id);
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
