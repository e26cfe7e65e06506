-- ledger_publish makes a publication of this node's entries, and puts right what was changed or lost. In a database of its own: the
-- name of the node is in the filter.

\set home :DBNAME
\set SHOW_CONTEXT never
create database regress_publish;
\c regress_publish
create extension converge_ledger;
create view published as
select p.pubname, p.pubinsert as inserts, p.pubupdate or p.pubdelete or p.pubtruncate as more, r.prrelid::regclass as table,
       pg_get_expr(r.prqual, r.prrelid) as filter, r.prattrs as columns
  from pg_publication as p left join pg_publication_rel as r on r.prpubid = p.oid order by p.pubname, r.prrelid::regclass::text;

-- The server of these tests does not write what replicas need: a warning, nothing more.
select ledger_set_node('a');
select ledger_publish();
select ledger_publish();
select * from published;
select * from converge_ledger.publications;
select * from ledger_check();
set client_min_messages = notice;

-- Each way to break it is found and mended, and named.
alter publication ledger drop table converge_ledger.entries;
select kind, detail from ledger_check();
select ledger_publish();
alter publication ledger set (publish = 'update');
select kind, detail from ledger_check();
select ledger_publish();
alter publication ledger set table converge_ledger.entries (sequence, context_id, leaf_hash) where (origin = 'b');
select kind, detail from ledger_check();
select ledger_publish();
alter publication ledger add table converge_ledger.contexts;
select kind, detail from ledger_check();
select ledger_publish();
alter publication ledger add tables in schema converge_ledger;
select kind, detail from ledger_check();
select ledger_publish();
drop publication ledger;
select kind, detail from ledger_check();
select ledger_publish();
select * from published;
select * from ledger_check();

-- A node that was adopted under another name publishes what it appends from now on.
select ledger_adopt_node(E'it''s \\ "b"');
select kind, detail from ledger_check();
select ledger_publish();
set standard_conforming_strings = off;
select ledger_publish();
select * from ledger_check();
reset standard_conforming_strings;
select filter from published;
select ledger_adopt_node('a');
select ledger_publish();

-- All that the node has, for who joins through it; and back.
select ledger_publish('ledger_relay', 'all');
select ledger_publish('ledger_relay', 'all');
select ledger_publish('Odd "name"', 'all');
select ledger_publish('Odd "name"');
select * from published;
select * from ledger_check();
select ledger_unpublish('Odd "name"');
select ledger_unpublish('ledger_relay');
select publication from converge_ledger.publications;
select pubname from published;

-- One that the administrator made.
select ledger_unpublish();
create publication ledger for table converge_ledger.entries where (origin = 'a') with (publish = 'insert');
select ledger_publish();
-- Of a publication that somebody else uses too, nothing is taken out.
create table mine (a integer);
alter publication ledger add table mine;
select kind, detail from ledger_check();
\set VERBOSITY default
select ledger_publish();
create publication everything for all tables;
select ledger_publish('everything');
create publication schemas for tables in schema public;
select ledger_publish('schemas');
\set VERBOSITY terse
alter publication ledger drop table mine;
select ledger_publish();
drop publication everything, schemas;
-- What pg_dump leaves of one that ledger_publish never saw: an empty one that publishes inserts. Others are not ours.
select ledger_unpublish();
create publication empty;
select * from ledger_check();
create publication by_hand with (publish = 'insert');
select kind, detail from ledger_check();
select ledger_publish('by_hand');
select * from ledger_check();

-- Refused.
\set VERBOSITY default
select ledger_publish('other', 'foreign');
\echo :LAST_ERROR_SQLSTATE
select ledger_publish(null);
\echo :LAST_ERROR_SQLSTATE
select ledger_publish('other', null);
\echo :LAST_ERROR_SQLSTATE
select ledger_unpublish('other');
\echo :LAST_ERROR_SQLSTATE
select ledger_unpublish(null);
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY terse
begin read only;
select ledger_publish('other');
\echo :LAST_ERROR_SQLSTATE
rollback;
-- Only the owner of the table.
create role regress_publish_user;
grant create on database regress_publish to regress_publish_user;
grant usage on schema converge_ledger to regress_publish_user;
grant execute on function ledger_publish, ledger_unpublish, ledger_pin_origins to regress_publish_user;
set role regress_publish_user;
select ledger_publish('other');
\echo :LAST_ERROR_SQLSTATE
select ledger_publish('other', 'all');
\echo :LAST_ERROR_SQLSTATE
select ledger_unpublish('by_hand');
\echo :LAST_ERROR_SQLSTATE
select ledger_pin_origins('other', null);
\echo :LAST_ERROR_SQLSTATE
reset role;

-- A node without a name gets its own first.
set converge_ledger.allow_drop = on;
drop extension converge_ledger;
create extension converge_ledger;
select ledger_publish();
select count(*), bool_and(name ~ '^regress_publish-[0-9a-f]{8}$') as made_up from converge_ledger.node;
select filter = format('(origin = %L::text)', name) as own from published, converge_ledger.node where pubname = 'ledger';
select * from ledger_check();

-- A copy has to be adopted before it publishes under the name of the original; that it is a copy is told.
\c :home
create database regress_publish_copy template regress_publish;
\c regress_publish_copy
select kind, regexp_replace(detail, '-[0-9a-f]{8}', '-…') as detail from ledger_check();
do $$
begin
    perform ledger_publish();
exception when others then
    raise notice '% %', sqlstate, regexp_replace(sqlerrm, '-[0-9a-f]{8}', '-…');
end $$;
select ledger_adopt_node('copy');
select ledger_publish() ~ '^repaired: its filter is ' as repaired;
select * from ledger_check();

\c :home
drop database regress_publish_copy;
revoke all on database regress_publish from regress_publish_user;
drop database regress_publish;
drop role regress_publish_user;
