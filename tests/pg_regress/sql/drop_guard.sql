-- DROP EXTENSION, and whatever would drop the extension on its way, is refused until the setting allows it.

\set VERBOSITY default
drop extension converge_ledger;
\echo :LAST_ERROR_SQLSTATE
drop extension if exists converge_ledger cascade;
\echo :LAST_ERROR_SQLSTATE
drop schema public cascade;
\echo :LAST_ERROR_SQLSTATE
do $$ begin execute 'drop extension converge_ledger'; end $$;
\echo :LAST_ERROR_SQLSTATE

-- Among others, and while no ordinary trigger fires.
\set VERBOSITY sqlstate
drop extension plpgsql, converge_ledger;
begin;
set local session_replication_role = replica;
drop extension converge_ledger;
rollback;
-- With the objects of its owner.
begin;
create role regress_extension_owner superuser;
update pg_extension set extowner = 'regress_extension_owner'::regrole where extname = 'converge_ledger';
savepoint s;
drop owned by regress_extension_owner;
rollback to s;
drop owned by regress_extension_owner cascade;
rollback to s;
set local role regress_extension_owner;
drop owned by current_user cascade;
rollback;
\set VERBOSITY default

-- What belongs to the extension cannot be dropped alone: PostgreSQL says so.
\set VERBOSITY sqlstate
drop table converge_ledger.entries;
drop schema converge_ledger cascade;
drop event trigger converge_ledger_drop_guard;
drop function ledger_append(text, text, bytea, jsonb, bigint, text);
\set VERBOSITY default

-- Other extensions, schemas and roles are none of its business.
begin;
create schema drop_me;
drop schema drop_me;
create schema drop_me;
create table drop_me.t (i int);
set local client_min_messages = warning;
drop schema drop_me cascade;
create role regress_other;
drop owned by regress_other;
drop extension if exists no_such_extension;
rollback;

-- Allowed.
begin;
set local converge_ledger.allow_drop = on;
set local client_min_messages = warning;
drop extension converge_ledger;
select to_regclass('converge_ledger.entries') is null as gone, to_regnamespace('converge_ledger') is null as schema_gone;
rollback;
select count(*) as there from pg_extension where extname = 'converge_ledger';

-- An ordinary role cannot allow it to itself.
begin;
create role regress_other;
set local role regress_other;
set local converge_ledger.allow_drop = on;
rollback;
