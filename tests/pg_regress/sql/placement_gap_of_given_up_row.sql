-- A complete row that ON CONFLICT DO NOTHING drops is missing: where others arrived beyond it, the context has a gap and the
-- transaction is refused, whichever of them came first.

\getenv source PG_ABS_SRCDIR
\set oracle :source '/oracle/format_1.sql'
\set ECHO none
\i :oracle
\set ECHO all
create function pg_temp.arriving(context text, sequence bigint, id text default '')
returns converge_ledger.entries language plpgsql as $$
declare
    e converge_ledger.entries := row(sequence, sequence, '2026-01-02 03:04:05+00', 1, context, 'elsewhere',
        'facts', id, convert_to('entry ' || sequence || ' ' || id, 'UTF8'), '{}', '\x000102030405060708090a0b0c0d0e0f', null, null);
begin
    e.leaf_hash := pg_temp.leaf(e);
    return e;
end $$;
\set VERBOSITY default
set converge_ledger.notify = off;

-- The one beyond it came last.
begin;
insert into converge_ledger.entries
select (pg_temp.arriving('given up, 1', sequence, id)).* from (values (1, 'one'), (2, 'one'), (3, 'three')) as v (sequence, id)
on conflict do nothing;
prepare transaction 'given up, then beyond';
-- It came first, and the dropped row is the last of the transaction.
begin;
insert into converge_ledger.entries
select (pg_temp.arriving('given up, 2', sequence, id)).* from (values (3, 'three'), (1, 'one'), (2, 'one')) as v (sequence, id)
on conflict do nothing;
prepare transaction 'beyond, then given up';
-- In a savepoint.
begin;
insert into converge_ledger.entries select (pg_temp.arriving('given up, 3', 3, 'three')).*;
savepoint s;
insert into converge_ledger.entries
select (pg_temp.arriving('given up, 3', sequence, id)).* from (values (1, 'one'), (2, 'one')) as v (sequence, id)
on conflict do nothing;
release s;
prepare transaction 'in a savepoint';
-- The dropped row closed the gap only to the next one.
begin;
insert into converge_ledger.entries
select (pg_temp.arriving('given up, 4', sequence, id)).* from (values (4, ''), (3, ''), (1, 'one'), (2, 'one')) as v (sequence, id)
on conflict do nothing;
prepare transaction 'two beyond';
select gid from pg_prepared_xacts where gid like '%beyond%' or gid like '%given up%' or gid = 'in a savepoint' order by gid;
select format('rollback prepared %L', gid) from pg_prepared_xacts
 where gid like '%beyond%' or gid like '%given up%' or gid = 'in a savepoint' \gexec
select count(*) from converge_ledger.entries where context_id like 'given up%';
reset converge_ledger.notify;
