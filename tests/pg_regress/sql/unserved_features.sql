-- What only the executor honors (rules, row security), the append functions refuse rather than skip it; INSERT goes on where
-- PostgreSQL lets it. A table with further columns is refused altogether.

-- The changes would be refused otherwise.
set converge_ledger.allow_drop = on;
create function pg_temp.try(change text, statement text) returns text language plpgsql as $$
declare
    hint text;
begin
    execute change;
    execute statement;
    raise exception using errcode = 'ZZ000';
exception
    when sqlstate 'ZZ000' then return 'accepted';
    when others then
        get stacked diagnostics hint = pg_exception_hint;
        return sqlstate || ' ' || sqlerrm || ' / ' || hint;
end $$;
create role regress_nobody;
select ledger_append('unserved', 'facts', 'x');
select change, s.way, pg_temp.try(change, s.statement) as answer from unnest(array[
    'create rule r as on insert to converge_ledger.entries do also select 1',
    'alter table converge_ledger.entries enable row level security',
    'alter table converge_ledger.entries add column more int',
    'alter table converge_ledger.entries add column more int generated always as (1) stored',
    'alter table converge_ledger.entries add check (key <> ''x'')',
    'create index on converge_ledger.entries (key)'
  ]) with ordinality as c (change, n), (values
    (1, 'function', $$select ledger_append('unserved', 'facts', 'x')$$), (2, 'batch', $$select * from ledger_append_batch('unserved', 'facts', '{x}')$$),
    (3, 'insert', $$insert into converge_ledger.entries (context_id, payload) values ('unserved', 'x')$$)) as s (m, way, statement)
 order by n, m;

-- What is served: constraints, foreign keys, generated values in the defaults of the columns that may be given.
begin;
alter table converge_ledger.entries add constraint not_red check (key <> 'red');
create table kinds (key text collate "C" primary key);
insert into kinds values ('facts'), ('red'), ('');
alter table converge_ledger.entries add constraint known_kind foreign key (key) references kinds not valid;
select ledger_append('unserved', 'facts', 'y');
savepoint s;
\set VERBOSITY terse
select ledger_append('unserved', 'red', 'y');
rollback to s;
select ledger_append('unserved', 'green', 'y');
rollback to s;
-- A deferred one is checked at the end.
alter table converge_ledger.entries alter constraint known_kind deferrable initially deferred;
select ledger_append('unserved', 'green', 'y');
set constraints all immediate;
rollback to s;
select ledger_append('unserved', 'facts', 'z');
select sequence, key, ledger_text(payload) from ledger_get('unserved');
select * from ledger_check('unserved');
rollback;

-- Who may read only part of the table cannot read through the functions.
begin;
select ledger_grant('regress_nobody', 'read');
alter table converge_ledger.entries enable row level security;
create policy only_facts on converge_ledger.entries for select using (key = 'facts');
set local role regress_nobody;
savepoint s;
\set VERBOSITY default
select ledger_root('unserved');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select (ledger_head('unserved')).size;
\echo :LAST_ERROR_SQLSTATE
rollback;
drop role regress_nobody;
