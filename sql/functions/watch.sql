-- Waiting for entries.

create function @extschema@.ledger_watch(
    context text, after_sequence bigint default 0, max_entries integer default 1000, key text default null,
    timeout interval default '30 s'
) returns setof converge_ledger.entries
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'ledger_watch';
comment on function @extschema@.ledger_watch(text, bigint, integer, text, interval) is
    'entries of a context after a position, in order; waits for the first of them';

-- For drivers that send the timeout as text. Without defaults, or a call with fewer arguments would be ambiguous.
create function @extschema@.ledger_watch(
    context text, after_sequence bigint, max_entries integer, key text, timeout text
) returns setof converge_ledger.entries
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'ledger_watch_text_timeout';
comment on function @extschema@.ledger_watch(text, bigint, integer, text, text) is
    'entries of a context after a position, in order; waits for the first of them; the timeout as text';

create procedure @extschema@.ledger_wait(
    context text, after_sequence bigint default 0, timeout interval default '30 s', inout last_sequence bigint default null
)
    language c
    as 'MODULE_PATHNAME', 'ledger_wait';
comment on procedure @extschema@.ledger_wait(text, bigint, interval, bigint) is
    'commits, and waits until a context has an entry after a position; gives its last sequence, or null at the timeout';
