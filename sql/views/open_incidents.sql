-- What waits for somebody, in plain words. Uses nothing but tables, so that a grant of the view is all that a monitoring role needs.

create view @extschema@.ledger_open_incidents as
    with open as (
        select i.*,
               pg_catalog.format('"%s"', i.origin) as by,
               1 + (select pg_catalog.count(*) from converge_ledger.incident_entries as e
                     where e.context_id = i.context_id and e.incident_id = i.incident_id) as kept,
               greatest(i.sequence,
                        (select pg_catalog.max(e.sequence) from converge_ledger.incident_entries as e
                          where e.context_id = i.context_id and e.incident_id = i.incident_id),
                        case pg_catalog.jsonb_typeof(i.evidence -> 'last') when 'number' then (i.evidence ->> 'last')::pg_catalog.numeric::bigint end)
                   as last_sequence,
               exists (select from converge_ledger.entries as held
                        where held.context_id = i.context_id and held.sequence = i.sequence) as is_held,
               i.evidence ->> 'decision' as decision,
               case i.source when '' then '' else pg_catalog.format(' from "%s"', i.source) end as from_source
          from converge_ledger.incidents as i
         where i.resolved_at is null
    )
    select o.incident_id, o.found_at, o.kind, o.context_id, o.sequence, o.last_sequence, o.source,
           case o.kind
               when 'fork' then pg_catalog.format(
                   'Node %s has another history from entry %s on%s: %s of its entries are kept aside; ledger_forks shows both.',
                   o.by, o.sequence, case when o.is_held then '' else ', where this node has none' end, o.kept)
               when 'rollback' then pg_catalog.format(
                   'Peers have entries from %s %s of this node that it has not: it was set back, or somebody writes in its name%s.',
                   o.sequence,
                   case when greatest(h.size, o.last_sequence) > o.sequence then 'to ' || greatest(h.size, o.last_sequence) else 'on' end,
                   case when h.context_id is null then ''
                        when h.reason is null then '; it does not append to the context until that is decided'
                        else '; they are being put back, and it does not append to the context meanwhile' end)
               when 'peer alarm' then pg_catalog.format(
                   'The peer "%s" has entries of this node that it does not have, in more contexts than it can halt one by one: '
                       'this node was set back, or the peer writes in its name%s.',
                   o.source,
                   case when alarm.peer is null then ''
                        when alarm.reason is null then '; this node appends to no context until that is decided'
                        else '; they are restored, and this node appends to no context meanwhile' end)
               when 'unpinned' then pg_catalog.format(
                   'Subscription "%s" delivered %s entries of %s from %s on, an origin that it may not deliver.',
                   o.source, o.kept, o.by, o.sequence)
               when 'corruption' then pg_catalog.format(
                   'Entry %s%s of this node is damaged or missing: %s.', o.sequence,
                   case when o.last_sequence > o.sequence then ' to ' || o.last_sequence else '' end, o.evidence ->> 'reason')
               when 'damaged' then pg_catalog.format('A row%s for entry %s is no entry: %s.',
                   o.from_source, coalesce(o.sequence::text, 'without sequence'), o.evidence ->> 'reason')
               when 'discontinuity' then pg_catalog.format('Entry %s%s does not follow the one before it: %s.',
                   o.sequence, o.from_source, o.evidence ->> 'reason')
               when 'duplicate id' then pg_catalog.format('Entry %s%s has an id that is taken: %s.',
                   o.sequence, o.from_source, o.evidence ->> 'reason')
               when 'damaged peer' then pg_catalog.format('The peer "%s" has a damaged %s: %s.',
                   o.source, coalesce('entry ' || o.sequence, 'context'), o.evidence ->> 'reason')
               when 'not stated' then pg_catalog.format(
                   'The peer "%s" no longer states this context, which it stated before: it has lost it, or hides it.', o.source)
               when 'contradiction' then pg_catalog.format('What the peer "%s" said cannot all be true: %s.',
                   o.source, o.evidence ->> 'reason')
               else pg_catalog.format('Entry %s%s: %s.', o.sequence, o.from_source, o.evidence ->> 'reason')
           end as what_happened,
           (select pg_catalog.string_agg(pg_catalog.format('SELECT %I.ledger_resolve(%s, ''%s'', ''...'')', home.home, o.incident_id, choice), ' or '
                       order by place)
              from pg_catalog.unnest(case when o.kind in ('fork', 'rollback', 'peer alarm', 'unpinned', 'corruption')
                                          then array['keep_mine', 'keep_theirs'] else array['keep_mine'] end)
                   with ordinality as choices (choice, place)
             cross join (select n.nspname as home
                           from pg_catalog.pg_extension as x join pg_catalog.pg_namespace as n on n.oid = x.extnamespace
                          where x.extname = 'converge_ledger') as home
             where choice is distinct from o.decision) as resolve_with,
           case when o.decision is not null or o.kind in ('corruption', 'damaged peer', 'not stated') then 'a peer'
                when o.kind in ('fork', 'rollback', 'peer alarm', 'unpinned') then 'a decision'
                when o.kind in ('damaged', 'discontinuity', 'duplicate id') and not o.is_held and o.sequence is not null then 'a peer'
                else 'nothing' end as waits_for
      from open as o
      left join converge_ledger.halted as h on h.incident_id = o.incident_id
      left join converge_ledger.peer_alarms as alarm on alarm.incident_id = o.incident_id;
comment on view @extschema@.ledger_open_incidents is
    'incidents that are not resolved: what happened, what it waits for, and the calls that resolve it';
comment on column @extschema@.ledger_open_incidents.incident_id is
    'number of the incident';
comment on column @extschema@.ledger_open_incidents.found_at is
    'when it was found';
comment on column @extschema@.ledger_open_incidents.kind is
    'its kind: see the reference';
comment on column @extschema@.ledger_open_incidents.context_id is
    'the context';
comment on column @extschema@.ledger_open_incidents.sequence is
    'the entry, or the first of them';
comment on column @extschema@.ledger_open_incidents.last_sequence is
    'the last of them that is known';
comment on column @extschema@.ledger_open_incidents.source is
    'subscription or peer that it came from, empty for none';
comment on column @extschema@.ledger_open_incidents.what_happened is
    'one sentence';
comment on column @extschema@.ledger_open_incidents.resolve_with is
    'the calls that decide it; put the reason in the place of the dots';
comment on column @extschema@.ledger_open_incidents.waits_for is
    'a decision, a peer, or nothing: nothing more comes of it, and keep_mine closes it';
