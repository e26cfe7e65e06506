-- Appending.

create function @extschema@.ledger_append(
    context text, key text, payload bytea,
    metadata jsonb default '{}', received bigint default null, id text default ''
) returns bigint
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'ledger_append_bytes';
comment on function @extschema@.ledger_append(text, text, bytea, jsonb, bigint, text) is
    'appends an entry with these bytes; returns its sequence';

create function @extschema@.ledger_append(
    context text, key text, payload text,
    metadata jsonb default '{}', received bigint default null, id text default ''
) returns bigint
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'ledger_append_ambiguous';
comment on function @extschema@.ledger_append(text, text, text, jsonb, bigint, text) is
    'appends an entry whose payload is this text in UTF-8, unless it is a bytea literal in hex form; returns its sequence';

create function @extschema@.ledger_append(
    context text, key text, payload jsonb,
    metadata jsonb default '{}', received bigint default null, id text default ''
) returns bigint
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'ledger_append_json';
comment on function @extschema@.ledger_append(text, text, jsonb, jsonb, bigint, text) is
    'appends an entry whose payload is this JSON as PostgreSQL prints it; returns its sequence';

create function @extschema@.ledger_append(
    context text, key text, payload json,
    metadata jsonb default '{}', received bigint default null, id text default ''
) returns bigint
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'ledger_append_text';
comment on function @extschema@.ledger_append(text, text, json, jsonb, bigint, text) is
    'appends an entry whose payload is this JSON text as it is given; returns its sequence';

-- One name for each type of payload: whatever type a driver sends, what is stored is what was meant, or there is an error.
create function @extschema@.ledger_append_text(
    context text, key text, payload text,
    metadata jsonb default '{}', received bigint default null, id text default ''
) returns bigint
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'ledger_append_text';
comment on function @extschema@.ledger_append_text(text, text, text, jsonb, bigint, text) is
    'appends an entry whose payload is this text in UTF-8; returns its sequence';

create function @extschema@.ledger_append_bytes(
    context text, key text, payload bytea,
    metadata jsonb default '{}', received bigint default null, id text default ''
) returns bigint
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'ledger_append_bytes';
comment on function @extschema@.ledger_append_bytes(text, text, bytea, jsonb, bigint, text) is
    'appends an entry with these bytes; returns its sequence';

create function @extschema@.ledger_append_json(
    context text, key text, payload jsonb,
    metadata jsonb default '{}', received bigint default null, id text default ''
) returns bigint
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'ledger_append_json';
comment on function @extschema@.ledger_append_json(text, text, jsonb, jsonb, bigint, text) is
    'appends an entry whose payload is this JSON as PostgreSQL prints it; returns its sequence';

create function @extschema@.ledger_append_batch(
    context text, key text, payloads bytea[],
    metadata jsonb default '{}', received bigint default null
) returns table (first_sequence bigint, last_sequence bigint, last_lamport bigint)
    language c volatile parallel unsafe rows 1
    as 'MODULE_PATHNAME', 'ledger_append_batch';
comment on function @extschema@.ledger_append_batch(text, text, bytea[], jsonb, bigint) is
    'appends one entry for each payload, in order; returns the range of sequences, nulls for no payload';

create function @extschema@.ledger_append_rows(
    context text, keys text[], payloads bytea[], metadata jsonb[] default null
) returns table (first_sequence bigint, last_sequence bigint, last_lamport bigint)
    language c volatile parallel unsafe rows 1
    as 'MODULE_PATHNAME', 'ledger_append_rows';
comment on function @extschema@.ledger_append_rows(text, text[], bytea[], jsonb[]) is
    'appends one entry for each place of the arrays, in order; returns the range of sequences, nulls for none';
