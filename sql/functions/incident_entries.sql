-- All that an incident keeps: the row that it begins with, and the further ones of its branch.

create function @extschema@.ledger_incident_entries(incident bigint)
    returns table ("sequence" bigint, lamport bigint, appended_at timestamptz, format smallint, context_id text, origin text,
                   key text, id text, payload bytea, metadata jsonb, salt bytea, leaf_hash bytea, content_digest bytea,
                   source text, arrived_at timestamptz)
    language plpgsql stable parallel unsafe
    set search_path = pg_catalog, pg_temp
as $function$
#variable_conflict use_column
declare
    context text;
begin
    if incident is null then
        raise exception using errcode = 'null_value_not_allowed', message = 'argument "incident" must not be null';
    end if;
    select i.context_id into context from converge_ledger.incidents i where i.incident_id = incident;
    if not found then
        raise exception using errcode = 'undefined_object', message = format('incident %s does not exist', incident),
            hint = 'View ledger_open_incidents lists the open ones, table converge_ledger.incidents all.';
    end if;
    return query
        select kept.*
          from (
              select i.sequence, i.lamport, i.appended_at, i.format, i.context_id, i.origin, i.key, i.id, i.payload,
                     i.metadata, i.salt, i.leaf_hash, i.content_digest, i.source, i.found_at as arrived_at
                from converge_ledger.incidents i
               where i.incident_id = incident and (i.leaf_hash is not null or i.payload is not null)
              union all
              select e.sequence, e.lamport, e.appended_at, e.format, e.context_id, e.origin, e.key, e.id, e.payload,
                     e.metadata, e.salt, e.leaf_hash, e.content_digest, e.source, e.arrived_at
                from converge_ledger.incident_entries e
               where e.context_id = context and e.incident_id = incident
          ) as kept
         order by kept.sequence, kept.arrived_at, kept.leaf_hash;
end
$function$;
comment on function @extschema@.ledger_incident_entries(bigint) is
    'all entries that an incident keeps, in order: the one that it begins with, and the further ones of its branch';
