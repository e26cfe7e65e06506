-- A node has a name, the origin of its entries: made up at the first append, or given before it. Each case in a database of
-- its own.

\set home :DBNAME
create database regress_node;
\c regress_node
create extension converge_ledger;
\set VERBOSITY default
create function pg_temp.refused(statement text) returns text language plpgsql as $$
declare
    detail text;
    hint text;
begin
    execute statement;
    return 'accepted';
exception when others then
    get stacked diagnostics detail = pg_exception_detail, hint = pg_exception_hint;
    return sqlstate || ' ' || regexp_replace(sqlerrm, '-[0-9a-f]{8}', '-…') || E'\n' || regexp_replace(regexp_replace(detail, '-[0-9a-f]{8}', '-…'), '[0-9]+', '…', 'g') || E'\n' || hint;
end $$;
-- Nothing appended yet: no name, and nothing to adopt.
select count(*) from converge_ledger.node;
select ledger_adopt_node('continue');
\echo :LAST_ERROR_SQLSTATE
-- A name that the format does not allow.
select ledger_set_node('');
\echo :LAST_ERROR_SQLSTATE
select ledger_set_node(repeat('n', 64));
\echo :LAST_ERROR_SQLSTATE
select ledger_set_node(E'a\nb');
\echo :LAST_ERROR_SQLSTATE
-- Given, and given again; another one as well, while nothing was appended under it.
select ledger_set_node(repeat('ö', 31) || 'n') = repeat('ö', 31) || 'n' as longest;
begin;
select ledger_append('a', 'facts', 'x');
select origin = repeat('ö', 31) || 'n' as named from ledger_get('a');
rollback;
select ledger_set_node(repeat('ö', 31) || 'n') is not null as again;
select ledger_set_node('another');
select name from converge_ledger.node;
drop extension converge_ledger;
\echo :LAST_ERROR_SQLSTATE
set converge_ledger.allow_drop = on;
drop extension converge_ledger;
reset converge_ledger.allow_drop;

-- Made up: the name of the database and eight digits of its identity.
create extension converge_ledger;
select ledger_append('a', 'facts', 'x');
select name ~ '^regress_node-[0-9a-f]{8}$' as made_up, system_identifier = (select system_identifier from pg_control_system()) as system,
       database_oid = (select oid from pg_database where datname = current_database()) as database, timeline
  from converge_ledger.node;
select pg_temp.refused($$select ledger_set_node('later')$$);
select ledger_set_node((select name from converge_ledger.node)) is not null as the_same;
select origin = (select name from converge_ledger.node) as own from ledger_get('a');

-- Under a new name it is a new node: contexts of the old one are closed to it, new ones are open.
begin;
select ledger_adopt_node('new name');
select ledger_append('b', 'facts', 'x');
select origin from ledger_get('b');
savepoint s;
do $$
begin
    perform ledger_append('a', 'facts', 'x');
exception when object_not_in_prerequisite_state then
    raise notice '% / %', sqlerrm, sqlstate;
end $$;
rollback to s;
-- An adoption that is rolled back is undone, for this session as well.
select ledger_adopt_node('new name, rolled back');
select ledger_append('c', 'facts', 'lost');
rollback to s;
select ledger_append('c', 'facts', 'x');
select origin from ledger_get('c');
rollback;
select ledger_append('a', 'facts', 'y');
select * from ledger_check();
select ledger_adopt_node('');
\echo :LAST_ERROR_SQLSTATE
select ledger_adopt_node(null);
\echo :LAST_ERROR_SQLSTATE
select ledger_set_node(null);
\echo :LAST_ERROR_SQLSTATE

-- A copy made by TEMPLATE is another database: it has to be adopted before it appends, but can be read.
\c :home
create database regress_node_copy template regress_node;
\c regress_node_copy
create function pg_temp.refused(statement text) returns text language plpgsql as $$
declare
    detail text;
    hint text;
begin
    execute statement;
    return 'accepted';
exception when others then
    get stacked diagnostics detail = pg_exception_detail, hint = pg_exception_hint;
    return sqlstate || ' ' || regexp_replace(sqlerrm, '-[0-9a-f]{8}', '-…') || E'\n' || regexp_replace(regexp_replace(detail, '-[0-9a-f]{8}', '-…'), '[0-9]+', '…', 'g') || E'\n' || hint;
end $$;
select pg_temp.refused($$select ledger_append('a', 'facts', 'x')$$);
select pg_temp.refused($$insert into converge_ledger.entries (context_id, payload) values ('new', 'x')$$);
select count(*), (ledger_head('a')).size from ledger_get('a');
select pg_temp.refused($$select ledger_set_node('another')$$);
select ledger_adopt_node('continue') = (select origin from ledger_get('a') limit 1) as same_name;
select ledger_append('a', 'facts', 'x');
select * from ledger_check();

\c :home
drop database regress_node_copy;
drop database regress_node;
