-- Appending.

create function @extschema@.ledger_append(
    context text, key text, payload bytea,
    metadata jsonb default '{}', received bigint default null, id text default ''
) returns bigint
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'ledger_append_bytea';
comment on function @extschema@.ledger_append(text, text, bytea, jsonb, bigint, text) is
    'appends an entry with these bytes; returns its sequence';

create function @extschema@.ledger_append(
    context text, key text, payload text,
    metadata jsonb default '{}', received bigint default null, id text default ''
) returns bigint
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'ledger_append_text';
comment on function @extschema@.ledger_append(text, text, text, jsonb, bigint, text) is
    'appends an entry whose payload is this text in UTF-8; returns its sequence';

create function @extschema@.ledger_append(
    context text, key text, payload jsonb,
    metadata jsonb default '{}', received bigint default null, id text default ''
) returns bigint
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'ledger_append_jsonb';
comment on function @extschema@.ledger_append(text, text, jsonb, jsonb, bigint, text) is
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
