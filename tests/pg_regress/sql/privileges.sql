-- What roles with 'append' and 'read' can do, and what they cannot; everybody else can do nothing.

create role regress_append;
create role regress_read;
create role regress_nobody;
select ledger_grant('regress_append', 'append');
select ledger_grant('regress_read', 'read');
-- Once more is no error.
select ledger_grant('regress_append', 'append');

-- Appending: every way in, and everything that reads.
begin;
set local role regress_append;
select ledger_append('privileges', 'facts', 'x'), ledger_append('privileges', 'facts', '\x00'::bytea), ledger_append('privileges', 'facts', '{}'::jsonb);
select ledger_append('privileges', 'facts', 'x', '{}', 5, 'id');
select * from ledger_append_batch('privileges', 'facts', array['y', 'z']::bytea[]);
insert into converge_ledger.entries (context_id, key, payload, metadata, id) values ('privileges', 'facts', 'x', '{}', 'a') returning sequence;
copy converge_ledger.entries (context_id, payload) from stdin;
privileges	\\x01
\.
select count(*), max(sequence) from ledger_get('privileges');
select (ledger_head('privileges')).size, length(ledger_root('privileges')), ledger_text('x'), ledger_channel('privileges'), ledger_listen('privileges'), ledger_unlisten('privileges');
select ledger_verify_proof('privileges', ledger_proof('privileges', 2)) as proof,
       ledger_verify_proof(ledger_proof('privileges', 2), 8, ledger_root('privileges')) as proof,
       ledger_verify_consistency(ledger_consistency('privileges', 2), 2, ledger_root('privileges', 2, 'rfc6962'), 8, ledger_root('privileges', 8, 'rfc6962')) as consistency;
select * from ledger_check();
select count(*) > 0 as contexts from converge_ledger.contexts;
-- Past a block, so that the registry and the subtrees are written, to which it has no right itself.
insert into converge_ledger.entries (context_id, payload) select 'privileges, many', int4send(i) from generate_series(1, 300) as i;
select count(*) from ledger_get('privileges, many');
reset role;
select count(*) as subtrees from converge_ledger.subtrees where context_id = 'privileges, many';
select * from ledger_check();
rollback;

-- Reading only.
begin;
select ledger_append('privileges', 'facts', 'x');
set local role regress_read;
select count(*) from ledger_get('privileges');
select (ledger_head('privileges')).size, ledger_verify_proof('privileges', ledger_proof('privileges', 1)) as proof;
select * from ledger_check();
\set VERBOSITY default
savepoint s;
select ledger_append('privileges', 'facts', 'x');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
insert into converge_ledger.entries (context_id, payload) values ('privileges', 'x');
\echo :LAST_ERROR_SQLSTATE
rollback;

-- What neither can do. One statement each; the answer is the SQLSTATE.
create function pg_temp.try(statement text) returns text language plpgsql as $$
begin
    execute statement;
    raise exception using errcode = 'ZZ000';
exception
    when sqlstate 'ZZ000' then return 'accepted';
    when others then return sqlstate;
end $$;
grant create on schema public to regress_append, regress_read, regress_nobody;
select ledger_append('privileges', 'facts', 'x');
create table answers (n int, statement text, append text, read text, nobody text);
grant all on answers to public;
insert into answers select n, statement from unnest(array[
    $$insert into converge_ledger.entries (context_id, payload, sequence) values ('privileges', 'x', 5)$$,
    $$insert into converge_ledger.entries (context_id, payload, lamport) values ('privileges', 'x', 5)$$,
    $$insert into converge_ledger.entries (context_id, payload, origin) values ('privileges', 'x', 'other')$$,
    $$insert into converge_ledger.entries (context_id, payload, appended_at) values ('privileges', 'x', now())$$,
    $$insert into converge_ledger.entries (context_id, payload, leaf_hash) values ('privileges', 'x', sha256('x'))$$,
    $$insert into converge_ledger.entries select * from converge_ledger.entries$$,
    $$update converge_ledger.entries set payload = 'y'$$, $$delete from converge_ledger.entries$$, $$truncate converge_ledger.entries$$,
    $$alter table converge_ledger.entries disable trigger all$$, $$drop trigger ledger_append_only on converge_ledger.entries$$,
    $$alter table converge_ledger.entries add column x int$$, $$create index on converge_ledger.entries (key)$$,
    $$create trigger t before insert on converge_ledger.entries for each row execute function suppress_redundant_updates_trigger()$$,
    $$create rule r as on insert to converge_ledger.entries do instead nothing$$,
    $$create table child () inherits (converge_ledger.entries)$$, $$create table refers (s bigint, c text, foreign key (c, s) references converge_ledger.entries)$$,
    $$set session_replication_role = replica$$, $$set converge_ledger.allow_drop = on$$, $$set converge_ledger.max_payload_size = '64MB'$$,
    $$create table mine (like converge_ledger.entries including all); create trigger t before insert on mine for each row execute function converge_ledger.entries_before_insert()$$,
    $$create table mine (i int); create trigger t before update on mine for each row execute function converge_ledger.entries_append_only()$$,
    $$create event trigger mine on ddl_command_start execute function converge_ledger.drop_guard()$$,
    $$select converge_ledger.entries_before_insert()$$,
    $$insert into converge_ledger.contexts values ('x')$$, $$delete from converge_ledger.contexts$$, $$truncate converge_ledger.contexts$$,
    $$lock table converge_ledger.contexts in exclusive mode$$,
    $$select * from converge_ledger.subtrees$$, $$insert into converge_ledger.subtrees values (0, 8, 'x', 'x', 'x')$$, $$delete from converge_ledger.subtrees$$,
    $$select * from converge_ledger.node$$, $$update converge_ledger.node set name = 'x'$$, $$delete from converge_ledger.node$$,
    $$select * from converge_ledger.incidents$$, $$insert into converge_ledger.incidents (kind, context_id) values ('x', 'x')$$,
    $$select ledger_set_node('x')$$, $$select ledger_adopt_node('x')$$, $$select ledger_rebuild()$$, $$select ledger_rebuild('privileges')$$,
    $$select ledger_grant('regress_nobody', 'append')$$,
    $$drop extension converge_ledger$$, $$drop schema converge_ledger cascade$$]) with ordinality as s (statement, n);
set role regress_append;
update answers set append = pg_temp.try(statement);
set role regress_read;
update answers set read = pg_temp.try(statement);
set role regress_nobody;
update answers set nobody = pg_temp.try(statement);
reset role;
select append, read, nobody, statement from answers order by n;
drop table answers;

-- Nobody: no table, no function, not even the schema.
begin;
set local role regress_nobody;
select pg_temp.try($$select * from converge_ledger.entries$$) as entries, pg_temp.try($$insert into converge_ledger.entries (context_id, payload) values ('x', 'x')$$) as append;
reset role;
select count(*) as functions, count(*) filter (where has_function_privilege('regress_nobody', p.oid, 'execute')) as allowed
  from pg_proc as p join pg_depend as d on d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
  join pg_extension as x on x.oid = d.refobjid and x.extname = 'converge_ledger';
select bool_or(has_schema_privilege('regress_nobody', 'converge_ledger', 'usage, create')) as schema,
       bool_or(has_table_privilege('regress_nobody', c.oid, 'select, insert, update, delete, truncate, references, trigger')) as tables
  from pg_class as c where relnamespace = 'converge_ledger'::regnamespace and relkind in ('r', 'S');
rollback;
-- Functions that a grant reaches, but not the table: the table's rights decide.
begin;
grant usage on schema converge_ledger to regress_nobody;
grant execute on all functions in schema public, converge_ledger to regress_nobody;
set local role regress_nobody;
select statement, pg_temp.try(statement) from unnest(array[
    $$select ledger_append('privileges', 'facts', 'x')$$, $$select * from ledger_append_batch('privileges', 'facts', '{x}')$$,
    $$select * from ledger_get('privileges')$$, $$select ledger_head('privileges')$$, $$select ledger_root('privileges')$$,
    $$select ledger_proof('privileges', 1)$$, $$select ledger_consistency('privileges', 1)$$, $$select ledger_verify_proof('privileges', '{}')$$,
    $$select * from ledger_check()$$, $$select * from converge_ledger.running_work()$$, $$select converge_ledger.visible_size('privileges', 0, null)$$, $$select ledger_rebuild()$$,
    $$select ledger_set_node('x')$$, $$select ledger_grant('regress_nobody', 'append')$$, $$select ledger_channel('privileges')$$]) as statement;
-- With a word on what to do.
savepoint s;
select ledger_append('privileges', 'facts', 'x');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_root('privileges');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_rebuild();
\echo :LAST_ERROR_SQLSTATE
rollback to s;
rollback;

-- ledger_grant itself.
select ledger_grant('regress_nobody', 'write');
\echo :LAST_ERROR_SQLSTATE
select ledger_grant('no such role', 'read');
\echo :LAST_ERROR_SQLSTATE
select ledger_grant(null, 'read');
\echo :LAST_ERROR_SQLSTATE
select ledger_grant('regress_nobody', null);
\echo :LAST_ERROR_SQLSTATE
-- A role whose name needs quoting.
begin;
create role "Regress; drop table x --";
select ledger_grant('Regress; drop table x --', 'read');
set local role "Regress; drop table x --";
select count(*) from ledger_get('privileges');
rollback;
revoke create on schema public from regress_append, regress_read, regress_nobody;
drop owned by regress_append, regress_read, regress_nobody;
drop role regress_append, regress_read, regress_nobody;
