-- An entry may arrive before the one that precedes it. Readers go to the end of the contiguous part, appending waits
-- until the gap is closed, and the check tells of it.

\getenv source PG_ABS_SRCDIR
\set oracle :source '/oracle/format_1.sql'
\set ECHO none
\i :oracle
\set ECHO all
-- An entry as it would arrive from a dump, with its own leaf over whatever it says.
create function pg_temp.arriving(context text, sequence bigint, payload bytea default 'x', lamport bigint default null,
    origin text default 'elsewhere', appended_at timestamptz default '2026-01-02 03:04:05.678901+00', key text default 'facts',
    id text default '', metadata jsonb default '{}', salt bytea default '\x000102030405060708090a0b0c0d0e0f')
returns converge_ledger.entries language plpgsql as $$
declare
    e converge_ledger.entries := row(sequence, coalesce(lamport, sequence), appended_at, 1, context, origin, key, id, payload,
        metadata, salt, null, null);
begin
    e.leaf_hash := pg_temp.leaf(e);
    return e;
end $$;

begin;
insert into converge_ledger.entries select (pg_temp.arriving('gap', i, int4send(i::int), origin => name)).*
  from unnest(array[1, 2, 4, 5]) as i, converge_ledger.node;
select size, lamport from ledger_head('gap');
select array_agg(sequence) from ledger_get('gap');
select context_id, sequence, kind, detail from ledger_check('gap');
savepoint s;
\set VERBOSITY default
select ledger_append('gap', '', 'x');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_proof('gap', 4);
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_root('gap', 5);
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_consistency('gap', 1, 5);
\echo :LAST_ERROR_SQLSTATE
rollback to s;
-- Closed.
insert into converge_ledger.entries select (pg_temp.arriving('gap', 3, int4send(3), origin => name)).* from converge_ledger.node;
select size, lamport from ledger_head('gap');
select * from ledger_check('gap');
select ledger_append('gap', '', 'x');
select array_agg(sequence) from ledger_get('gap');
rollback;

-- A context whose first entry is missing has no entries to read.
begin;
insert into converge_ledger.entries select * from pg_temp.arriving('gap, first', 2);
select count(*) from ledger_get('gap, first');
select sequence, kind, detail from ledger_check('gap, first');
savepoint s;
select (ledger_head('gap, first')).size;
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_append('gap, first', '', 'x');
\echo :LAST_ERROR_SQLSTATE
rollback;
