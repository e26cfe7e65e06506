-- A column or a rule that was there for a while and is gone leaves nothing behind that would keep the functions from appending.

-- The changes would be refused otherwise.
set converge_ledger.allow_drop = on;
begin;
select ledger_append('undone', 'facts', 'before');
savepoint s;
alter table converge_ledger.entries add column more int default 7;
\set VERBOSITY sqlstate
select ledger_append('undone', 'facts', 'x');
rollback to s;
alter table converge_ledger.entries add column more int default 7;
alter table converge_ledger.entries drop column more;
select ledger_append('undone', 'facts', 'after the column');
select * from ledger_append_batch('undone', 'facts', '{a,b}');
insert into converge_ledger.entries (context_id, payload) values ('undone', 'inserted') returning sequence;

savepoint s;
create rule r as on insert to converge_ledger.entries do also select 1;
select ledger_append('undone', 'facts', 'x');
rollback to s;
create rule r as on insert to converge_ledger.entries do also select 1;
drop rule r on converge_ledger.entries;
select ledger_append('undone', 'facts', 'after the rule');

alter table converge_ledger.entries enable row level security;
create policy p on converge_ledger.entries using (true);
alter table converge_ledger.entries disable row level security;
select ledger_append('undone', 'facts', 'after row security');
drop policy p on converge_ledger.entries;
alter table converge_ledger.entries add column more int generated always as (1) stored;
alter table converge_ledger.entries drop column more;
select ledger_append('undone', 'facts', 'after the generated column');
select * from ledger_append_batch('undone', 'facts', '{a,b}');

select sequence, key, ledger_text(payload) from ledger_get('undone');
select ledger_verify_proof('undone', ledger_proof('undone', 9)) as proof;
select * from ledger_check('undone');
rollback;
