-- A command that leaves a table of the ledger in a form that the compiled code cannot read and write is refused, whatever the
-- command; what is harmless is not.

set client_min_messages = error;
begin;
create collation case_blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
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
    'create unique index on converge_ledger.subtrees (bitcoin) include (context_id, level, index)',
    'create unique index on converge_ledger.contexts (context_id collate case_blind)',
    'alter table converge_ledger.incidents add unique (found_at)',
    'create trigger t after insert on converge_ledger.incidents for each row execute function suppress_redundant_updates_trigger()',
    'create trigger t before update on converge_ledger.incidents for each row execute function suppress_redundant_updates_trigger()',
    'create trigger t after truncate on converge_ledger.subtrees execute function suppress_redundant_updates_trigger()',
    'create constraint trigger t after update on converge_ledger.node deferrable for each row execute function suppress_redundant_updates_trigger()',
    'alter table converge_ledger.incidents add constraint nope check (resolved_at is null)',
    'alter table converge_ledger.pinned_origins add check (false) not valid',
    'alter table converge_ledger.publications drop constraint publications_origins_check, add constraint publications_origins_check check (origins = ''own'')',
    'alter table converge_ledger.incident_entries add foreign key (incident_id) references converge_ledger.incidents',
    'create table mine (n bigint references converge_ledger.incidents on delete cascade)',
    'create table mine (n bigint references converge_ledger.incidents) partition by list (n); create table part partition of mine default',
    'alter sequence converge_ledger.incidents_incident_id_seq maxvalue 5',
    'alter sequence converge_ledger.incidents_incident_id_seq increment -1',
    'alter table converge_ledger.incidents alter column incident_id set cycle',
    'alter table converge_ledger.incidents alter column incident_id drop identity',
    'alter table converge_ledger.entries alter column sequence add generated always as identity',
    'alter table converge_ledger.entries alter column lamport add generated by default as identity',
    'alter table converge_ledger.entries alter column id set default ''one''',
    'alter table converge_ledger.entries alter column metadata drop default',
    'alter table converge_ledger.entries alter column payload set default ''x''',
    'create function pg_temp.f() returns void language sql as ''alter table converge_ledger.entries add column more int''; select pg_temp.f()',
    'do $d$ begin alter table converge_ledger.entries add column more int; end $d$'
  ]) with ordinality as c (change, n) order by n;

select change, pg_temp.try(change) ~ '^23001 .* has another default' as refused
  from (select format('alter table converge_ledger.entries alter column %I set default %s', attname,
                      case atttypid when 'bytea'::regtype then $$'\x00'$$ when 'timestamptz'::regtype then 'now()' else $$'7'$$ end)
          from pg_attribute where attrelid = 'converge_ledger.entries'::regclass and attnum > 0 and attname not in ('context_id', 'key')
         order by attnum) as c (change);

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
    'create trigger t before update on converge_ledger.entries for each row execute function suppress_redundant_updates_trigger()',
    'alter table converge_ledger.entries alter column context_id set default ''c'', alter column id set default ''''',
    'create table mine (c text, n bigint, foreign key (c, n) references converge_ledger.entries)',
    'create table mine (like converge_ledger.entries including all)',
    'alter sequence converge_ledger.incidents_incident_id_seq restart with 1',
    'alter table converge_ledger.incidents alter column incident_id restart',
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
create trigger mine before insert on converge_ledger.entries for each row execute function suppress_redundant_updates_trigger();
drop trigger mine on converge_ledger.entries;
create publication mine for table converge_ledger.entries;
create policy mine on converge_ledger.entries using (true);
create statistics mine on context_id, key from converge_ledger.entries;
create index mine on converge_ledger.entries (key);
alter index converge_ledger.mine rename to mine_too;
alter table converge_ledger.entries add constraint mine check (key <> 'x');
comment on table converge_ledger.entries is 'mine';
grant select on converge_ledger.entries to public;
-- One after the other can be repaired.
alter table converge_ledger.entries disable trigger ledger_append_only;
alter table converge_ledger.entries enable always trigger ledger_append_only;
create unique index entries_id_key on converge_ledger.entries (context_id, id) where id <> '';
alter table converge_ledger.entries drop column more;
alter table converge_ledger.entries add constraint entries_pkey primary key (context_id, sequence);
select detail from ledger_check();
rollback;

-- What ledger_check prints repairs it, and the guard lets it.
create function pg_temp.repair(change text) returns text language plpgsql as $$
declare
    statement text;
    was text;
    faults text;
begin
    set local converge_ledger.allow_drop = on;
    execute change;
    set local converge_ledger.allow_drop = off;
    select string_agg(detail, ' | ' order by detail collate "C") into was from ledger_check() where kind = 'schema';
    for step in 1..8 loop
        select max(substring(detail from '; (.*) repairs it$')) into statement from ledger_check() where kind = 'schema';
        exit when statement is null;
        execute statement;
    end loop;
    select string_agg(detail, ' | ') into faults from ledger_check() where kind = 'schema';
    perform ledger_append('repaired', 'facts', 'x');
    raise exception using errcode = 'ZZ000';
exception
    when sqlstate 'ZZ000' then return concat_ws(E'\n  ', was, coalesce(faults, 'repaired'));
    when others then return concat_ws(E'\n  ', was, statement, sqlstate, sqlerrm);
end $$;
begin;
select change, pg_temp.repair(change) from unnest(array[
    'drop index converge_ledger.entries_id_key',
    'drop index converge_ledger.entries_id_key; create index entries_id_key on converge_ledger.entries (id)',
    'drop index converge_ledger.entries_id_key; create table converge_ledger.entries_id_key ()',
    'drop index converge_ledger.unsettled_context; create index unsettled_context on converge_ledger.unsettled (first)',
    'alter table converge_ledger.entries drop constraint entries_pkey; create index entries_pkey on converge_ledger.entries (key)',
    'alter table converge_ledger.entries drop constraint entries_pkey, add primary key (context_id, sequence) deferrable',
    'alter table converge_ledger.contexts drop constraint contexts_pkey; create view converge_ledger.contexts_pkey as select 1',
    'alter table converge_ledger.subtrees drop constraint subtrees_pkey, add constraint mine primary key (bitcoin)',
    'alter table converge_ledger.halted add exclude using btree (since with =), add unique (size)',
    'create unique index mine on converge_ledger.node (named_at); alter table converge_ledger.node replica identity using index mine; drop index converge_ledger.mine',
    'create trigger "a trigger" before update on converge_ledger.incidents for each row execute function suppress_redundant_updates_trigger()',
    'alter table converge_ledger.incidents add constraint "a check" check (resolved_at is null)',
    'alter table converge_ledger.node drop constraint node_singleton_check, add constraint node_singleton_check check (singleton or true)',
    'alter table converge_ledger.incident_entries add foreign key (incident_id) references converge_ledger.incidents',
    'create schema "S"; create table "S"."T" (n bigint references converge_ledger.incidents) partition by list (n); create table part partition of "S"."T" default',
    'alter sequence converge_ledger.incidents_incident_id_seq as integer increment -1 minvalue -5 maxvalue 5 cycle',
    'alter table converge_ledger.entries alter column sequence add generated always as identity, alter column salt set default ''x''',
    'alter table converge_ledger.entries alter column metadata set default ''[]'', alter column format drop default, alter column id set default ''x''',
    'alter table converge_ledger.entries enable row level security, add column more int; alter table converge_ledger.stated set unlogged'
  ]) with ordinality as c (change, n) order by n;
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
