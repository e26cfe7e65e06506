-- An entry can be proved in the statement after the one that appends it, in the same transaction. In the same
-- statement it cannot be seen yet, and the error says so.

begin;
select ledger_append('next', 'facts', 'one');
select ledger_verify_proof('next', ledger_proof('next', 1)) as proved;
select (ledger_head('next')).size, array_agg(sequence) from ledger_get('next');

\set VERBOSITY default
savepoint s;
select ledger_proof('next', ledger_append('next', 'facts', 'two'));
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_root('next', ledger_append('next', 'facts', 'two'));
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_consistency('next', 1, ledger_append('next', 'facts', 'two'));
\echo :LAST_ERROR_SQLSTATE
rollback to s;
-- A first entry as well.
select ledger_proof('next, first', ledger_append('next, first', 'facts', 'one'));
\echo :LAST_ERROR_SQLSTATE
rollback to s;
-- What a statement began with can be proved in it.
with appended as (select ledger_append('next', 'facts', 'two') as sequence)
select sequence, ledger_verify_proof('next', ledger_proof('next', sequence - 1)) as proved_before from appended;
select ledger_verify_proof('next', ledger_proof('next', 2)) as proved;

-- Beyond what was appended, there is nothing to wait for: no hint.
select ledger_proof('next', 3);
\echo :LAST_ERROR_SQLSTATE
rollback to s;

-- Within a function, each statement is one of its own.
create function pg_temp.append_and_prove(context text, payload text) returns jsonb language plpgsql as $$
declare
    appended bigint;
begin
    appended := ledger_append(context, 'facts', payload);
    return ledger_proof(context, appended);
end $$;
select pg_temp.append_and_prove('next', 'three') as proof \gset
select ledger_verify_proof('next', :'proof') as proved;
rollback;
