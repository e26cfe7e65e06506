-- UPDATE, DELETE and TRUNCATE of entries are refused: for a superuser, as a subscription's apply would, for no row at
-- all, and in every statement that hides one of them.

select ledger_append('append only', 'facts', 'x', id => 'a');
\set VERBOSITY default
update converge_ledger.entries set payload = 'y' where context_id = 'append only';
\echo :LAST_ERROR_SQLSTATE
delete from converge_ledger.entries where context_id = 'append only';
\echo :LAST_ERROR_SQLSTATE
truncate converge_ledger.entries;
\echo :LAST_ERROR_SQLSTATE

\set VERBOSITY sqlstate
update converge_ledger.entries set payload = payload where context_id = 'append only';
delete from converge_ledger.entries where false;
update converge_ledger.entries set payload = 'y' where context_id = 'no such context';
truncate converge_ledger.entries, converge_ledger.contexts cascade;
insert into converge_ledger.entries (context_id, key, payload, id) values ('append only', 'facts', 'y', 'a')
on conflict (context_id, id) where id <> '' do update set payload = 'y';
insert into converge_ledger.entries (context_id, key, payload, id) values ('append only', 'facts', 'y', 'b')
on conflict (context_id, id) where id <> '' do update set payload = 'y';
merge into converge_ledger.entries as e using (values ('append only')) as v (context) on e.context_id = v.context
when matched then update set payload = 'y';
merge into converge_ledger.entries as e using (values ('append only')) as v (context) on e.context_id = v.context
when matched then delete;
with gone as (delete from converge_ledger.entries where context_id = 'append only' returning *)
select count(*) from gone;
do $$ begin delete from converge_ledger.entries; end $$;
begin;
set local session_replication_role = replica;
update converge_ledger.entries set payload = 'y' where context_id = 'append only';
rollback;
begin;
set local session_replication_role = replica;
delete from converge_ledger.entries where context_id = 'append only';
rollback;
begin;
set local session_replication_role = replica;
truncate converge_ledger.entries;
rollback;
-- The owner of the table, who is no superuser, neither.
begin;
create role regress_owner;
grant usage on schema converge_ledger to regress_owner;
alter table converge_ledger.entries owner to regress_owner;
set local role regress_owner;
delete from converge_ledger.entries where context_id = 'append only';
rollback;

select sequence, ledger_text(payload) from ledger_get('append only');
select * from ledger_check('append only');
