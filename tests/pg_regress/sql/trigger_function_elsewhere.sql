-- The trigger functions serve the ledger's own table. On another, even one of the same shape, they refuse: nothing there
-- would be a ledger.

\set VERBOSITY default
begin;
create table look_alike (like converge_ledger.entries including all);
create trigger "~ledger_stamp" before insert on look_alike for each row execute function converge_ledger.entries_before_insert();
savepoint s;
insert into look_alike (context_id, payload) values ('x', 'x');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
drop trigger "~ledger_stamp" on look_alike;
create trigger t after insert on look_alike for each row execute function converge_ledger.entries_before_insert();
savepoint s;
insert into look_alike (context_id, payload, sequence, lamport, appended_at, origin, leaf_hash) values ('x', 'x', 1, 1, now(), 'x', 'x');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
create trigger t after insert on converge_ledger.entries for each row execute function converge_ledger.entries_before_insert();
savepoint s;
select ledger_append('elsewhere', 'facts', 'x');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
create trigger statement before insert on converge_ledger.entries for each statement execute function converge_ledger.entries_before_insert();
savepoint s;
insert into converge_ledger.entries (context_id, payload) values ('elsewhere', 'x');
\echo :LAST_ERROR_SQLSTATE
rollback;
-- As a plain function it cannot be called at all.
select converge_ledger.entries_before_insert();
\echo :LAST_ERROR_SQLSTATE
