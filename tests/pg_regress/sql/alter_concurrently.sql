-- Commands that commit before they end cannot be undone: they are refused before they act. What an interrupted one has left can be repaired
-- by what ledger_check prints.

set client_min_messages = error;
\pset format unaligned
\pset tuples_only on

create index concurrently mine on converge_ledger.contexts (lower(context_id));
create index concurrently on converge_ledger.halted (since) where size > 0;
create unique index concurrently mine on converge_ledger.subtrees (bitcoin);
create unique index concurrently mine on converge_ledger.subtrees (bitcoin) include (context_id, level, index);
create unique index concurrently mine on converge_ledger.contexts (context_id collate "POSIX" text_pattern_ops);
set search_path = converge_ledger;
create index concurrently on incidents ((evidence -> 'reason'));
drop index concurrently entries_id_key;
reset search_path;
drop index concurrently converge_ledger.entries_id_key;
drop index concurrently if exists converge_ledger.unsettled_context;
drop index concurrently converge_ledger.incidents_branch;
drop index concurrently converge_ledger.incident_entries_place;
drop index concurrently converge_ledger.entries_pkey;
-- Nothing was done.
select indexrelid::regclass from pg_index where not (indisvalid and indisready and indislive);
select detail from ledger_check();

-- What serves the ledger as well.
create index concurrently mine on converge_ledger.contexts ((context_id));
create unique index concurrently mine_too on converge_ledger.subtrees (context_id, level, index, bitcoin);
create index concurrently mine_on_entries on converge_ledger.entries (lower(key)) where lamport > 0;
create unique index concurrently id_key on converge_ledger.entries (context_id, id) where id <> '';
drop index concurrently converge_ledger.entries_id_key;
reindex index concurrently converge_ledger.id_key;
reindex table concurrently converge_ledger.subtrees;
drop index concurrently converge_ledger.id_key;
create unique index concurrently entries_id_key on converge_ledger.entries (context_id, id) where id <> '';
comment on index converge_ledger.entries_id_key is 'makes a retry with the same id harmless';
drop index concurrently converge_ledger.id_key;
drop index concurrently converge_ledger.mine, converge_ledger.mine_too;
drop index concurrently converge_ledger.mine;
drop index concurrently converge_ledger.mine_too;
drop index concurrently converge_ledger.mine_on_entries;
drop index concurrently converge_ledger.no_such_index;
create index concurrently on converge_ledger.no_such_table (i);

-- A key that is dead or invalid.
select ledger_append('concurrent', 'facts', 'x', id => 'one');
begin;
update pg_index set indisvalid = false, indisready = false, indislive = false where indexrelid = 'converge_ledger.entries_id_key'::regclass;
commit;
\c -
set client_min_messages = error;
\pset format unaligned
\pset tuples_only on
select ledger_append('concurrent', 'facts', 'x', id => 'one');
create table unrelated (i int);
create trigger mine before insert on converge_ledger.entries for each row execute function suppress_redundant_updates_trigger();
drop trigger mine on converge_ledger.entries;
drop table unrelated;
select detail from ledger_check();
select substring(detail from '; (.*) repairs it$') from ledger_check() \gexec
select detail from ledger_check();
select ledger_append('concurrent', 'facts', 'x', id => 'one');
select ledger_append('concurrent', 'facts', 'x', id => 'two');
begin;
update pg_index set indisvalid = false, indisready = false, indislive = false
 where indexrelid in ('converge_ledger.entries_pkey'::regclass, 'converge_ledger.contexts_pkey'::regclass, 'converge_ledger.incidents_branch'::regclass);
commit;
\c -
set client_min_messages = error;
\pset format unaligned
\pset tuples_only on
select detail from ledger_check() where kind = 'schema' order by 1;
select substring(detail from '; (.*) repairs it$') from ledger_check() where kind = 'schema' order by 1 \gexec
select detail from ledger_check();
select ledger_append('concurrent', 'facts', 'x');
-- The other way to repair it.
begin;
update pg_index set indisvalid = false, indisready = false, indislive = false where indexrelid = 'converge_ledger.unsettled_context'::regclass;
commit;
\c -
drop index converge_ledger.unsettled_context;
create index unsettled_context on converge_ledger.unsettled (context_id, first);
comment on index converge_ledger.unsettled_context is 'finds where the judged part of a context ends';
select detail from ledger_check();

-- The other tests begin without these entries.
set converge_ledger.allow_drop = on;
drop extension converge_ledger;
create extension converge_ledger;
