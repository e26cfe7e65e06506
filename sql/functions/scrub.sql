-- Looking for damage without waiting for it to be found.

create function @extschema@.ledger_scrub(max_entries bigint default null) returns bigint
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'ledger_scrub';
comment on function @extschema@.ledger_scrub(bigint) is
    'hashes all stored entries anew, or about so many from where the scrub stopped; returns how many were read';
