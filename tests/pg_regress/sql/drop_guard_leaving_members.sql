-- A table that has left the extension could be dropped alone: it is kept from leaving.

\set VERBOSITY default
select ledger_append('leaving', 'facts', 'x');
begin;
savepoint s;
alter extension converge_ledger drop table converge_ledger.entries;
\echo :LAST_ERROR_SQLSTATE
rollback to s;
alter extension converge_ledger drop schema converge_ledger;
rollback to s;
drop schema converge_ledger cascade;
\echo :LAST_ERROR_SQLSTATE
rollback to s;
-- Allowed. Whatever has left is no longer the ledger's: nothing is appended to it.
set local converge_ledger.allow_drop = on;
alter extension converge_ledger drop table converge_ledger.entries;
set local converge_ledger.allow_drop = off;
savepoint s;
select ledger_append('leaving', 'facts', 'x');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select detail from ledger_check();
set local converge_ledger.allow_drop = on;
set local client_min_messages = error;
drop table converge_ledger.entries cascade;
select to_regclass('converge_ledger.entries') is null as gone;
rollback;
select sequence from ledger_get('leaving');
