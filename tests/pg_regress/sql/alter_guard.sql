-- A command that leaves a table of the ledger in a form that the compiled code cannot read and write is refused, whatever the
-- command; what is harmless is not.

set client_min_messages = error;
begin;
select ledger_append('guarded', 'facts', 'x');
create function pg_temp.try(change text) returns text language plpgsql as $$
declare
    detail text;
    hint text;
begin
    execute change;
    perform ledger_append('guarded', 'facts', 'y');
    raise exception using errcode = 'ZZ000';
exception
    when sqlstate 'ZZ000' then return 'accepted';
    when others then
        get stacked diagnostics detail = pg_exception_detail, hint = pg_exception_hint;
        return concat_ws(' / ', sqlstate, sqlerrm, nullif(detail, ''), nullif(hint, ''));
end $$;
\pset format unaligned
\pset tuples_only on

-- Refused.
select change, pg_temp.try(change) from unnest(array[
    'alter table converge_ledger.entries add column more int',
    'alter table converge_ledger.entries add column more int generated always as (1) stored',
    'alter table converge_ledger.entries rename column key to kind',
    'alter table converge_ledger.entries alter column id drop not null',
    'alter table converge_ledger.entries alter column payload set not null',
    'alter table converge_ledger.halted alter column size type numeric',
    'alter table converge_ledger.halted alter column since type timestamptz(3)',
    'alter table converge_ledger.contexts alter column context_id type text collate "POSIX"',
    'alter table converge_ledger.subtrees drop column rfc6962',
    'alter table converge_ledger.entries rename to log',
    'alter table converge_ledger.digests rename to cache',
    'alter table converge_ledger.entries set schema public',
    'alter schema converge_ledger rename to ledger',
    'alter sequence converge_ledger.incidents_incident_id_seq rename to numbers',
    'alter extension converge_ledger drop table converge_ledger.entries',
    'alter extension converge_ledger drop schema converge_ledger',
    'alter table converge_ledger.entries set unlogged',
    'alter table converge_ledger.unsettled set unlogged',
    'alter table converge_ledger.entries enable row level security',
    'alter table converge_ledger.entries force row level security',
    'create rule r as on insert to converge_ledger.entries do also select 1',
    'create table child () inherits (converge_ledger.entries)',
    'create table parent (); alter table converge_ledger.entries inherit parent',
    'create table parent (like converge_ledger.entries) partition by list (key); alter table parent attach partition converge_ledger.entries default',
    'alter table converge_ledger.entries drop constraint entries_pkey',
    'alter table converge_ledger.entries drop constraint entries_pkey, add constraint entries_pkey primary key (sequence, context_id)',
    'alter table converge_ledger.entries drop constraint entries_pkey, add constraint entries_pkey primary key (context_id, sequence) deferrable',
    'alter table converge_ledger.entries drop constraint entries_pkey, add constraint entries_pkey primary key (context_id, sequence) include (lamport)',
    'drop index converge_ledger.entries_id_key',
    'drop index converge_ledger.unsettled_context',
    'alter table converge_ledger.incidents drop constraint incidents_pkey',
    'create index on converge_ledger.contexts (lower(context_id))',
    'create index on converge_ledger.halted (since) where size > 0',
    'create unique index on converge_ledger.subtrees (bitcoin)',
    'alter table converge_ledger.node add exclude using btree (name with =)',
    'alter table converge_ledger.unsettled replica identity default',
    'create function pg_temp.f() returns void language sql as ''alter table converge_ledger.entries add column more int''; select pg_temp.f()',
    'do $d$ begin alter table converge_ledger.entries add column more int; end $d$'
  ]) with ordinality as c (change, n) order by n;

-- Harmless.
select change, pg_temp.try(change) from unnest(array[
    'create index on converge_ledger.entries (lower(key)) where lamport > 0',
    'create index on converge_ledger.contexts (context_id text_pattern_ops)',
    'create index on converge_ledger.subtrees using hash (bitcoin)',
    'create unique index on converge_ledger.subtrees (context_id, level, index, bitcoin)',
    'create index on converge_ledger.incidents using gin (evidence)',
    'alter table converge_ledger.entries add constraint c check (key <> ''x'')',
    'alter table converge_ledger.entries add unique (leaf_hash)',
    'alter index converge_ledger.entries_pkey rename to another_name',
    'alter table converge_ledger.entries drop constraint entries_pkey, add constraint entries_pkey primary key (context_id, sequence)',
    'create trigger t after insert on converge_ledger.incidents for each row execute function suppress_redundant_updates_trigger()',
    'alter table converge_ledger.entries alter column key set default ''k''',
    'alter table converge_ledger.entries alter column key set statistics 500, alter column payload set storage external',
    'alter table converge_ledger.entries set (autovacuum_vacuum_threshold = 1)',
    'alter table converge_ledger.halted replica identity full',
    'create statistics st on context_id, key from converge_ledger.entries',
    'create policy p on converge_ledger.entries using (true)',
    'comment on table converge_ledger.entries is ''mine''',
    'cluster converge_ledger.subtrees using subtrees_pkey',
    'create publication p for all tables',
    'create table unrelated (i int); alter table unrelated add column j int; drop table unrelated'
  ]) with ordinality as c (change, n) order by n;
select table_name, pg_temp.try(format('truncate converge_ledger.%I', table_name))
  from (select c.relname as table_name from pg_class c where c.relnamespace = 'converge_ledger'::regnamespace and c.relkind = 'r') t
 order by table_name collate "C";
rollback;

-- Whoever may set it can do it all the same, in steps if need be, and undo it without.
begin;
set local converge_ledger.allow_drop = on;
drop index converge_ledger.unsettled_context;
alter table converge_ledger.entries add column more int, drop constraint entries_pkey;
drop index converge_ledger.entries_id_key;
set local converge_ledger.allow_drop = off;
select detail from ledger_check() order by detail collate "C";
-- A fault that is there already keeps nobody from other commands.
create table unrelated (i int);
create index unsettled_context on converge_ledger.unsettled (context_id, first);
-- One after the other can be repaired.
alter table converge_ledger.entries disable trigger ledger_append_only;
alter table converge_ledger.entries enable always trigger ledger_append_only;
create unique index entries_id_key on converge_ledger.entries (context_id, id) where id <> '';
alter table converge_ledger.entries drop column more;
alter table converge_ledger.entries add constraint entries_pkey primary key (context_id, sequence);
select detail from ledger_check();
rollback;

-- The owner of a table who is not a superuser cannot.
create role regress_owner;
begin;
alter table converge_ledger.entries owner to regress_owner;
grant usage, create on schema converge_ledger to regress_owner;
set local role regress_owner;
savepoint s;
alter table converge_ledger.entries add column more int;
rollback to s;
set local converge_ledger.allow_drop = on;
rollback;
drop role regress_owner;

-- In a session that has not used the ledger before.
\c -
alter table converge_ledger.entries add column more int;
\c -
begin;
set local session_replication_role = replica;
alter schema converge_ledger rename to ledger;
rollback;
select count(*) from ledger_check();
