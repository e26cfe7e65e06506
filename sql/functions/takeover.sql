-- Taking over what another node owned.

create function @extschema@.ledger_takeover(context text, reason text) returns bigint
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'ledger_takeover';
comment on function @extschema@.ledger_takeover(text, text) is
    'makes this node the owner of a context whose owner is gone for good; returns the sequence of the entry';
