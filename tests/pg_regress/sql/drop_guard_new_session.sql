-- The guard is there in a session that has not used the ledger before: each of these is the first that a session does.

set client_min_messages = error;
create role regress_schema_owner;
alter schema public owner to regress_schema_owner;
\set VERBOSITY terse

\c -
begin;
set local client_min_messages = error;
drop extension converge_ledger;
rollback;
\c -
begin;
set local client_min_messages = error;
drop schema public cascade;
rollback;
\c -
begin;
set local client_min_messages = error;
drop owned by regress_schema_owner cascade;
rollback;
\c -
begin;
set local client_min_messages = error;
drop extension plpgsql cascade;
rollback;
\c -
begin;
set local client_min_messages = error;
alter table converge_ledger.entries drop column leaf_hash cascade;
rollback;
\c -
begin;
set local client_min_messages = error;
alter extension converge_ledger drop table converge_ledger.entries;
rollback;
\c -
begin;
set local client_min_messages = error;
do $$ begin execute 'drop extension converge_ledger'; end $$;
rollback;
-- Allowed from the first statement on, before the library is there.
\c -
begin;
set local converge_ledger.allow_drop = on;
set local client_min_messages = error;
drop owned by regress_schema_owner cascade;
select to_regclass('converge_ledger.entries') is null as gone;
rollback;

alter schema public owner to pg_database_owner;
drop role regress_schema_owner;
select count(*) as there from pg_extension where extname = 'converge_ledger';
