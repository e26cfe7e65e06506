-- A restore that leaves a hole in a context is refused at the end of its transaction, however that ends; rows that arrive out of
-- order are not.

\getenv source PG_ABS_SRCDIR
\set oracle :source '/oracle/format_1.sql'
\set ECHO none
\i :oracle
\set ECHO all
create function pg_temp.arriving(context text, sequence bigint)
returns converge_ledger.entries language plpgsql as $$
declare
    e converge_ledger.entries := row(sequence, sequence, '2026-01-02 03:04:05+00', 1, context, 'elsewhere',
        'facts', '', int8send(sequence), '{}', '\x000102030405060708090a0b0c0d0e0f', null, null);
begin
    e.leaf_hash := pg_temp.leaf(e);
    return e;
end $$;
\set VERBOSITY default

-- Without entry 65: behind it there are more entries than one look reads.
begin;
insert into converge_ledger.entries select (pg_temp.arriving('hole', i)).* from generate_series(1, 200) as i where i <> 65;
select size from ledger_head('hole');
commit;
\echo :LAST_ERROR_SQLSTATE
-- Without a transaction block; without the first entry; with another context before and behind.
insert into converge_ledger.entries select (pg_temp.arriving('hole', i)).* from generate_series(1, 200) as i where i <> 65;
\echo :LAST_ERROR_SQLSTATE
insert into converge_ledger.entries select (pg_temp.arriving('hole', i)).* from generate_series(2, 3) as i;
\echo :LAST_ERROR_SQLSTATE
begin;
insert into converge_ledger.entries select (pg_temp.arriving('hole, before', 1)).*;
insert into converge_ledger.entries select (pg_temp.arriving('hole', i)).* from unnest(array[1, 3]) as i;
insert into converge_ledger.entries select (pg_temp.arriving('hole, behind', 1)).*;
commit;
\echo :LAST_ERROR_SQLSTATE
-- Out of a savepoint.
begin;
insert into converge_ledger.entries select (pg_temp.arriving('hole', 1)).*;
savepoint s;
insert into converge_ledger.entries select (pg_temp.arriving('hole', 3)).*;
release s;
commit;
\echo :LAST_ERROR_SQLSTATE
-- For a prepared transaction too.
set converge_ledger.notify = off;
begin;
insert into converge_ledger.entries select (pg_temp.arriving('hole', i)).* from unnest(array[1, 3]) as i;
prepare transaction 'hole';
\echo :LAST_ERROR_SQLSTATE
select count(*) from pg_prepared_xacts where gid = 'hole';
select count(*) from converge_ledger.entries where context_id like 'hole%';
select count(*) from converge_ledger.contexts where context_id like 'hole%';

-- What was rolled back to a savepoint is no hole.
begin;
insert into converge_ledger.entries select (pg_temp.arriving('no hole', 1)).*;
savepoint s;
insert into converge_ledger.entries select (pg_temp.arriving('no hole', 3)).*;
rollback to s;
commit;
-- Nor are rows out of order: backwards, in steps, from both ends, in several statements.
insert into converge_ledger.entries select (pg_temp.arriving('no hole', i)).* from generate_series(300, 2, -1) as i;
begin;
insert into converge_ledger.entries select (pg_temp.arriving('no hole', 300 + i * 7 % 300)).* from generate_series(1, 299) as i;
insert into converge_ledger.entries select (pg_temp.arriving('no hole', 600)).*;
commit;
begin;
insert into converge_ledger.entries select (pg_temp.arriving('no hole', i)).* from generate_series(701, 800) as i;
insert into converge_ledger.entries select (pg_temp.arriving('no hole', i)).* from generate_series(601, 700) as i;
prepare transaction 'no hole';
commit prepared 'no hole';
select size, lamport, bitcoin_root = pg_temp.root('bitcoin', pg_temp.leaves('no hole')) as bitcoin,
       rfc6962_root = pg_temp.root('rfc6962', pg_temp.leaves('no hole')) as rfc6962 from ledger_head('no hole');
select * from ledger_check('no hole');
reset converge_ledger.notify;
