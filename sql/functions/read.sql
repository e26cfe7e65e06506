-- Reading.

create function converge_ledger.visible_size(context text, after_sequence bigint, max_entries bigint)
    returns bigint
    language c stable parallel safe
    as 'MODULE_PATHNAME', 'visible_size';
comment on function converge_ledger.visible_size(text, bigint, bigint) is
    'last sequence that ledger_get may return';

-- A null would let the planner skip the whole query, and with it the error that is due.
create function converge_ledger.required_context(context text) returns text
    language c stable parallel safe
    as 'MODULE_PATHNAME', 'required_context';
comment on function converge_ledger.required_context(text) is
    'the context, checked';

create function converge_ledger.required_position(after_sequence bigint) returns bigint
    language c stable parallel safe
    as 'MODULE_PATHNAME', 'required_position';
comment on function converge_ledger.required_position(bigint) is
    'the position, checked';

-- Plain SQL so that the planner can inline it. The names in the body are bound when it is created.
create function @extschema@.ledger_get(
    context text, after_sequence bigint default 0, max_entries bigint default null, key text default null
) returns setof converge_ledger.entries
    language sql stable parallel safe
begin atomic
    select entry.*
      from converge_ledger.entries as entry
     where entry.context_id = converge_ledger.required_context(ledger_get.context)
       and entry.sequence > converge_ledger.required_position(ledger_get.after_sequence)
       and entry.sequence <= converge_ledger.visible_size(
               ledger_get.context, ledger_get.after_sequence, ledger_get.max_entries)
       and (ledger_get.key is null or entry.key = ledger_get.key)
     order by entry.sequence
     limit ledger_get.max_entries;
end;
comment on function @extschema@.ledger_get(text, bigint, bigint, text) is
    'entries of a context after a position, in order';

create function @extschema@.ledger_head(context text)
    returns table (size bigint, lamport bigint, owner text, bitcoin_root bytea, rfc6962_root bytea)
    language c stable parallel safe rows 1
    as 'MODULE_PATHNAME', 'ledger_head';
comment on function @extschema@.ledger_head(text) is
    'size, Lamport time, owner and both roots of a context';

create function @extschema@.ledger_root(context text, size bigint default null, tree text default 'bitcoin')
    returns bytea
    language c stable parallel safe
    as 'MODULE_PATHNAME', 'ledger_root';
comment on function @extschema@.ledger_root(text, bigint, text) is
    'Merkle root over the first entries of a context; trust it only together with its size';

create function @extschema@.ledger_text(payload bytea) returns text
    language c immutable strict parallel safe
    as 'MODULE_PATHNAME', 'ledger_text';
comment on function @extschema@.ledger_text(bytea) is
    'the payload as text, null where it is not UTF-8';
