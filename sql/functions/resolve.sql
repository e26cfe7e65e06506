-- Decisions of administrators.

create function @extschema@.ledger_resolve(incident bigint, decision text, reason text) returns text
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'ledger_resolve';
comment on function @extschema@.ledger_resolve(bigint, text, text) is
    'decides an incident: ''keep_mine'' or ''keep_theirs''; returns what was done';

create function @extschema@.ledger_resolve_peer(peer text, decision text, reason text, max_incidents bigint default null)
    returns table (incident_id bigint, resolved boolean, result text)
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'ledger_resolve_peer';
comment on function @extschema@.ledger_resolve_peer(text, text, text, bigint) is
    'decides the open incidents of kind rollback and peer alarm of one peer, max_incidents at most; returns what was done about each';

create function converge_ledger.put_back(incident bigint) returns void
    language sql volatile parallel unsafe
begin atomic
    select converge_ledger.add_to_incident(put_back.incident, put_back.incident);
    with taken as (
        delete from converge_ledger.incident_entries e
         where e.incident_id = put_back.incident and e.payload is not null
           and e.context_id = (select i.context_id from converge_ledger.incidents i where i.incident_id = put_back.incident)
     returning e.*
    )
    insert into converge_ledger.entries (sequence, lamport, appended_at, format, context_id, origin, key, id, payload,
                                         metadata, salt, leaf_hash, content_digest)
    select t.sequence, t.lamport, t.appended_at, t.format, t.context_id, t.origin, t.key, t.id, t.payload,
           t.metadata, t.salt, t.leaf_hash, t.content_digest
      from taken t
     order by t.sequence;
end;
comment on function converge_ledger.put_back(bigint) is
    'puts all entries of an incident at their places of which the content was kept, through the trigger that judges them';
