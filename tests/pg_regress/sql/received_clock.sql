-- The Lamport clock of a context: each entry one more than the one before, and beyond a received time.

begin;
select ledger_append('clock', '', 'a');
-- Behind the clock, at it, ahead of it.
select ledger_append('clock', '', 'b', received => 0);
select ledger_append('clock', '', 'c', received => 2);
select ledger_append('clock', '', 'd', received => 3);
select ledger_append('clock', '', 'e', received => 1000);
select ledger_append('clock', '', 'f', received => 999);
select ledger_append('clock', '', 'g', received => null);
-- As far ahead as it may be: 2^40.
select ledger_append('clock', '', 'h', received => 1002 + (1::bigint << 40));
insert into converge_ledger.entries (context_id, payload) values ('clock', 'i');
select sequence, lamport, ledger_text(payload) from ledger_get('clock');
-- A new context is at 0; every context has its own clock.
select ledger_append('clock, another', '', 'a', received => 7);
select ledger_append('clock, far', '', 'a', received => 1::bigint << 40);
select context_id, lamport from converge_ledger.entries
 where context_id like 'clock, %' order by context_id;
-- What is rolled back does not move the clock.
savepoint s;
select ledger_append('clock, another', '', 'b', received => 500);
rollback to s;
select ledger_append('clock, another', '', 'b');
select sequence, lamport from ledger_get('clock, another');
select (ledger_head('clock, another')).lamport;

savepoint s;
\set VERBOSITY default
-- One too far, for a context with entries and for one without.
select ledger_append('clock', '', 'x', received => 1099511628781 + (1::bigint << 40));
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_append('clock, new', '', 'x', received => 1 + (1::bigint << 40));
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_append('clock', '', 'x', received => 9223372036854775807);
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_append('clock', '', 'x', received => -1);
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select * from ledger_append_batch('clock', '', array['x']::bytea[], received => -9223372036854775808);
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select * from ledger_check();
rollback;

-- The last time there is: an entry that arrives complete may have it, but none follows.
begin;
\getenv source PG_ABS_SRCDIR
\set oracle :source '/oracle/format_1.sql'
\set ECHO none
\i :oracle
\set ECHO all
create function pg_temp.arrive(new converge_ledger.entries) returns void language plpgsql as $$
begin
    new.leaf_hash := pg_temp.leaf(new);
    insert into converge_ledger.entries select new.*;
end $$;
select pg_temp.arrive(row(1, (1::bigint << 53) - 2, now(), 1, 'clock, last', (select name from converge_ledger.node),
    '', '', 'a'::bytea, '{}'::jsonb, decode(repeat('00', 16), 'hex'), null, null)::converge_ledger.entries);
select ledger_append('clock, last', '', 'b');
select sequence, lamport from ledger_get('clock, last');
savepoint s;
select ledger_append('clock, last', '', 'c');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_append('clock, last', '', 'c', received => (1::bigint << 53) - 1);
\echo :LAST_ERROR_SQLSTATE
rollback;
