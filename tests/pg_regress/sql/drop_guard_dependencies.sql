-- What the extension itself depends on would take it along, with all entries: refused as well.

\set VERBOSITY sqlstate
select ledger_append('guarded', 'facts', 'x');
-- Its schema, by way of the schema's owner.
begin;
create role regress_schema_owner;
alter schema public owner to regress_schema_owner;
set local client_min_messages = warning;
drop owned by regress_schema_owner cascade;
rollback;
-- The language of one of its functions, by way of the extension that brings it.
begin;
set local client_min_messages = warning;
drop extension plpgsql cascade;
rollback;
-- A column that one of its functions reads.
begin;
set local client_min_messages = warning;
alter table converge_ledger.entries drop column leaf_hash cascade;
rollback;
-- Allowed, it goes.
begin;
set local converge_ledger.allow_drop = on;
set local client_min_messages = warning;
drop extension plpgsql cascade;
select to_regclass('converge_ledger.entries') is null as gone;
rollback;
select sequence from ledger_get('guarded');
