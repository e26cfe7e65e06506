-- The tables that the ledger keeps for itself decide what is looked at, compared and served. Nobody changes them by hand: no superuser, no
-- session whose replication role is replica, by no command. A restore inserts what a dump has, and the ledger's own functions write.

create function pg_temp.refusal(command text) returns text language plpgsql as $$
declare
    state text;
    hint text;
begin
    execute command;
    return 'done';
exception when others then
    get stacked diagnostics state = returned_sqlstate, hint = pg_exception_hint;
    return state || case when hint <> '' then ', with a hint' else '' end;
end $$;
create temp table own as
select c.oid::regclass as name, c.oid = any (x.extconfig) as dumped,
       (select a.attname from pg_attribute as a where a.attrelid = c.oid and a.attnum > 0 and a.atttypid = 'text'::regtype limit 1) as column
  from pg_class as c cross join pg_extension as x
 where c.relnamespace = 'converge_ledger'::regnamespace and c.relkind = 'r' and c.relname <> 'entries' and x.extname = 'converge_ledger';
create view pg_temp.refused as
select name::text, dumped, pg_temp.refusal(format('insert into %s default values', name)) as insert,
       pg_temp.refusal(format('copy %s (%I) from program %L', name, own.column, 'echo 1')) as copy,
       pg_temp.refusal(format('update %s set %I = default', name, own.column)) as update,
       pg_temp.refusal(format('delete from %s', name)) as delete,
       pg_temp.refusal(format('truncate %s cascade', name)) as truncate,
       pg_temp.refusal(format('with gone as (delete from %s returning *) select count(*) from gone', name)) as part,
       pg_temp.refusal(format('merge into %s using (values (1)) as v on true when matched then delete', name)) as merge
  from own;
select * from pg_temp.refused order by name;
begin;
set local session_replication_role = replica;
select * from pg_temp.refused order by name;
rollback;
-- The owner of a table, who is no superuser, neither.
begin;
create role regress_owner_of_tables;
alter table converge_ledger.contexts owner to regress_owner_of_tables;
grant usage on schema converge_ledger to regress_owner_of_tables;
set local role regress_owner_of_tables;
savepoint s;
delete from converge_ledger.contexts;
\echo :LAST_ERROR_SQLSTATE
rollback to s;
truncate converge_ledger.contexts;
\echo :LAST_ERROR_SQLSTATE
rollback;

-- What the errors say.
\set VERBOSITY default
delete from converge_ledger.contexts;
update converge_ledger.pinned_origins set origin = 'x';
insert into converge_ledger.halted default values;
truncate converge_ledger.incidents;
\set VERBOSITY sqlstate

-- A restore: settings with which every dump begins. It inserts, and does nothing else; what is derived is in no dump.
begin;
set local check_function_bodies = off;
select set_config('search_path', '', true);
insert into converge_ledger.pinned_origins values ('restored', 'far'), ('restored', 'near');
insert into converge_ledger.incidents (kind, context_id) values ('fork', 'restored');
insert into converge_ledger.halted (incident_id, since, size, context_id) values (1, now(), 1, 'restored');
copy converge_ledger.publications (publication, origins) from stdin;
restored	all
\.
savepoint s;
insert into converge_ledger.contexts values ('restored');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
update converge_ledger.pinned_origins set origin = 'elsewhere' where subscription = 'restored';
\echo :LAST_ERROR_SQLSTATE
rollback to s;
delete from converge_ledger.halted;
\echo :LAST_ERROR_SQLSTATE
rollback;
-- One of them alone is none.
begin;
set local check_function_bodies = off;
insert into converge_ledger.pinned_origins values ('restored', 'far');
rollback;

-- The ledger's own functions write, also where somebody has a trigger of their own.
begin;
select ledger_append('own tables', 'facts', 'x');
create function pg_temp.noticed() returns trigger language plpgsql as $$ begin raise notice '% of %', tg_op, tg_table_name; return null; end $$;
set local converge_ledger.allow_drop = on;
create trigger noticed after insert or update or delete on converge_ledger.publications for each row execute function pg_temp.noticed();
set local converge_ledger.allow_drop = off;
set local client_min_messages = notice;
\set VERBOSITY terse
select ledger_publish('own_tables', 'all');
select ledger_publish('own_tables', 'all');
select * from converge_ledger.publications where publication = 'own_tables';
select ledger_unpublish('own_tables');
select ledger_pin_origins('own tables', null);
rollback;

-- Guards that are missing or do not fire always are faults; ledger_rebuild lets those that are there fire always again.
begin;
alter table converge_ledger.subtrees disable trigger ledger_guard;
alter table converge_ledger.node enable trigger ledger_guard_statement;
alter table converge_ledger.halted enable replica trigger ledger_guard;
drop trigger ledger_guard on converge_ledger.contexts;
create trigger ledger_guard before insert on converge_ledger.contexts for each row execute function converge_ledger.own_table_guard();
select kind, detail from ledger_check() order by detail collate "C";
select ledger_rebuild() >= 0 as rebuilt;
select kind, detail from ledger_check() order by detail collate "C";
rollback;
