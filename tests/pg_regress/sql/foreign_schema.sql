-- Where the extension is not installed, a schema converge_ledger and what is in it is somebody's own, whatever its names. The ledger
-- looks at what is a member of the extension.

\set home :DBNAME
\set SHOW_CONTEXT never
create database regress_foreign;
\c regress_foreign
load 'converge_ledger';
create schema converge_ledger;
create table converge_ledger.entries (sequence bigint, context_id text, payload text, primary key (context_id, sequence));
create table converge_ledger.contexts (context_id int);
create table converge_ledger.halted (i int);
create sequence converge_ledger.incidents_incident_id_seq;
create view converge_ledger.node as select 1 as i;

-- It is used like any other.
insert into converge_ledger.entries values (1, 'c', 'x');
copy converge_ledger.entries (sequence, context_id, payload) from stdin;
2	c	y
\.
update converge_ledger.entries set payload = 'z' where sequence = 2;
select * from converge_ledger.entries order by sequence;
alter table converge_ledger.entries add column more int, drop column payload;
alter table converge_ledger.contexts rename to others;
truncate converge_ledger.entries;
drop table converge_ledger.halted;

-- What stands in the way of the extension is named.
create extension converge_ledger;
\echo :LAST_ERROR_SQLSTATE
alter schema converge_ledger rename to theirs;
create function nothing() returns event_trigger language plpgsql as 'begin end';
create event trigger converge_ledger_alter_guard on sql_drop execute function nothing();
create extension converge_ledger;
\echo :LAST_ERROR_SQLSTATE
drop event trigger converge_ledger_alter_guard;
create extension converge_ledger;
select ledger_append('c', 'k', 'x');
select * from ledger_check();

-- A table of the same name that took the place of the ledger's is not written to.
begin;
set local converge_ledger.allow_drop = on;
alter table converge_ledger.contexts rename to ours;
create table converge_ledger.contexts (context_id text collate "C" primary key);
savepoint s;
select ledger_append('another', 'k', 'x');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select detail from ledger_check();
drop table converge_ledger.contexts;
alter table converge_ledger.ours rename to contexts;
select ledger_append('another', 'k', 'x');
rollback;

-- Theirs can be dropped with the extension present, too.
drop schema theirs cascade;
set converge_ledger.allow_drop = on;
drop extension converge_ledger;
create schema converge_ledger;
create table converge_ledger.entries (i int);
drop schema converge_ledger cascade;
\c :home
drop database regress_foreign;
