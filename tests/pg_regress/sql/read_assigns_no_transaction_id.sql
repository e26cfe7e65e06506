-- Reading writes nothing: no transaction id is assigned, and it works in a read-only transaction, for which
-- appending is refused.

begin;
insert into converge_ledger.entries (context_id, payload) select 'read only', int4send(i) from generate_series(1, 600) as i;
commit;

begin transaction read only;
select count(*) from ledger_get('read only', 5, 10);
select (ledger_head('read only')).size;
select length(ledger_root('read only', 555));
select length(ledger_root('read only', 555, 'rfc6962'));
select ledger_verify_proof('read only', ledger_proof('read only', 300)) as proof;
select ledger_verify_consistency(ledger_consistency('read only', 5), 5, ledger_root('read only', 5, 'rfc6962'),
    600, ledger_root('read only', 600, 'rfc6962')) as consistency;
select ledger_text('x'), ledger_channel('read only');
select count(*) as faults from ledger_check('read only');
select pg_current_xact_id_if_assigned() is null as none_assigned;

\set VERBOSITY default
savepoint s;
select ledger_append('read only', 'facts', 'x');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select * from ledger_append_batch('read only', 'facts', '{x}');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select * from ledger_append_batch('read only', 'facts', '{}');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
insert into converge_ledger.entries (context_id, payload) values ('read only', 'x');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_set_node('another');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_adopt_node('another');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_rebuild('read only');
\echo :LAST_ERROR_SQLSTATE
rollback;

-- Nor does a transaction that may write but only reads.
begin;
select count(*) from ledger_get('read only', 5, 10);
select ledger_verify_proof('read only', ledger_proof('read only', 300)) as proof;
select count(*) as faults from ledger_check('read only');
select pg_current_xact_id_if_assigned() is null as none_assigned;
rollback;

-- Reading functions may run in parallel workers, and give the same.
begin;
set local force_parallel_mode = on;
set local parallel_setup_cost = 0;
set local parallel_tuple_cost = 0;
select length(ledger_root('read only', 300)), (ledger_head('read only')).size;
select ledger_verify_proof('read only', ledger_proof('read only', 300)) as proof;
select count(*) from ledger_get('read only', 5, 10);
rollback;
