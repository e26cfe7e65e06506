-- A table that has left the extension could be dropped alone: refused as well, together with its entries or one of its columns.

\set VERBOSITY default
select ledger_append('leaving', 'facts', 'x');
begin;
alter extension converge_ledger drop table converge_ledger.entries;
savepoint s;
set local client_min_messages = error;
drop table converge_ledger.entries cascade;
\echo :LAST_ERROR_SQLSTATE
rollback to s;
drop schema converge_ledger cascade;
\echo :LAST_ERROR_SQLSTATE
rollback to s;
alter table converge_ledger.entries drop column payload cascade;
\echo :LAST_ERROR_SQLSTATE
rollback to s;
-- Allowed.
set local converge_ledger.allow_drop = on;
set local client_min_messages = error;
drop table converge_ledger.entries cascade;
select to_regclass('converge_ledger.entries') is null as gone;
rollback;
select sequence from ledger_get('leaving');
