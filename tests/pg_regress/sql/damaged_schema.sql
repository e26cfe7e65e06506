-- Where a key, the stamp or a table of the ledger is gone, appending and reading end with an error that says so; where a
-- stored hash is none, reading what needs it does. Nothing is appended past the damage.

-- The changes would be refused otherwise.
set converge_ledger.allow_drop = on;
select ledger_append('damaged', 'facts', 'x') from generate_series(1, 3);
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
select change, s.way, pg_temp.try(change, s.statement) as answer from unnest(array[
    'alter table converge_ledger.entries drop constraint entries_pkey',
    'drop index converge_ledger.entries_id_key',
    'alter table converge_ledger.contexts drop constraint contexts_pkey',
    'alter table converge_ledger.subtrees drop constraint subtrees_pkey',
    'alter table converge_ledger.node drop constraint node_pkey',
    'alter table converge_ledger.subtrees rename to moved',
    'drop trigger "~ledger_stamp" on converge_ledger.entries',
    'alter table converge_ledger.entries disable trigger "~ledger_stamp"'
  ]) with ordinality as c (change, n), (values
    (1, 'function', $$select ledger_append('damaged', 'facts', 'x')$$),
    (2, 'insert', $$insert into converge_ledger.entries (context_id, payload) values ('damaged', 'x')$$),
    (3, 'read', $$select ledger_root('damaged')$$)) as s (m, way, statement)
 order by n, m;

\set VERBOSITY default
begin;
alter table converge_ledger.entries disable trigger all;
update converge_ledger.entries set leaf_hash = '\x00' where context_id = 'damaged' and sequence = 2;
savepoint s;
select ledger_root('damaged');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select (ledger_head('damaged')).size;
\echo :LAST_ERROR_SQLSTATE
rollback to s;
-- What comes before it can be read.
select length(ledger_root('damaged', 1)) as before_it;
rollback;
begin;
alter table converge_ledger.entries disable trigger all;
update converge_ledger.entries set lamport = -5 where context_id = 'damaged' and sequence = 3;
alter table converge_ledger.entries enable always trigger "~ledger_stamp";
savepoint s;
select ledger_append('damaged', 'facts', 'x');
\echo :LAST_ERROR_SQLSTATE
rollback;
select * from ledger_check('damaged');
