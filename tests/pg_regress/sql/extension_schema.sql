-- The functions can live in a schema of one's choice, one named ledger included; the tables are in converge_ledger. Neither
-- search_path nor functions of the same name elsewhere change what is called.

\set home :DBNAME
create database regress_schema;
\c regress_schema
create schema ledger;
create table ledger.entries (mine int);
create extension converge_ledger schema ledger;
select ledger.ledger_append('a', 'facts', 'x');
select count(*) from ledger.ledger_get('a');
select * from ledger.ledger_check();
create role regress_schema_user;
select ledger.ledger_grant('regress_schema_user', 'append');
set role regress_schema_user;
select ledger.ledger_append('a', 'facts', 'y'), (ledger.ledger_head('a')).size;
reset role;
-- With nothing, or hostile things, in the search path.
create schema hostile;
create function hostile.sha256(bytea) returns bytea language sql as 'select null::bytea';
create function hostile.format(text, text) returns text language sql as 'select null';
create function hostile.visible_size(text, bigint, bigint) returns bigint language sql as 'select 0::bigint';
create table hostile.entries (context_id text);
create function hostile.mine(bigint, bigint) returns boolean language sql as 'select true';
create operator hostile.= (leftarg = bigint, rightarg = bigint, function = hostile.mine);
create operator hostile.> (leftarg = bigint, rightarg = bigint, function = hostile.mine);
set search_path = hostile, pg_catalog;
select ledger.ledger_append('a', 'facts', 'z');
select count(*), max(sequence) from ledger.ledger_get('a', 1);
select ledger.ledger_verify_proof('a', ledger.ledger_proof('a', 2)) as proof;
select * from ledger.ledger_check();
set search_path = '';
select ledger.ledger_append('a', 'facts', 'z');
select * from ledger.ledger_check();
reset search_path;

-- What is printed for an administrator to run names the schema.
select statement from ledger.ledger_join_sql('{"a": "host=a"}', 'b') where statement ~ 'ledger_set_node|EXTENSION|pin';

-- Neither schema can be changed afterwards.
\set VERBOSITY terse
alter extension converge_ledger set schema public;
drop schema ledger cascade;
drop schema converge_ledger cascade;
\set VERBOSITY default
\c :home
drop database regress_schema;

-- The name of the schema may be an odd one. The settings of the session are what they were, and do not
-- decide how tables are stored.
create database regress_schema;
\c regress_schema
create schema "50%s Off";
set search_path = nowhere, public;
create access method other type table handler heap_tableam_handler;
set default_table_access_method = other;
begin;
create extension converge_ledger schema "50%s Off";
show search_path;
show default_table_access_method;
commit;
show search_path;
select count(*) as not_heap from pg_class where relam = (select oid from pg_am where amname = 'other');
select statement from "50%s Off".ledger_join_sql('{"a": "host=a"}', 'b') where statement ~ 'ledger_set_node|EXTENSION|pin';
select "50%s Off".ledger_append('a', 'facts', 'x');
select "50%s Off".ledger_pin_origins('nobody', null);
select count(*) from "50%s Off".ledger_check();
select count(*) from "50%s Off".ledger_open_incidents;
\c :home
drop database regress_schema;
-- PostgreSQL refuses a name that could end a literal.
create database regress_schema;
\c regress_schema
create schema "it's";
\set VERBOSITY sqlstate
create extension converge_ledger schema "it's";
\set VERBOSITY default
\c :home
drop database regress_schema;
drop role regress_schema_user;
