-- ledger_get returns entries of one context in order: after a position, at most so many, of one key.

begin;
insert into converge_ledger.entries (context_id, key, payload)
select 'get', case i % 3 when 0 then 'third' else '' end, int4send(i) from generate_series(1, 10) as i;
select ledger_append('get, another', 'third', 'x');

select sequence, key, payload from ledger_get('get');
select array_agg(sequence) from ledger_get('get', 7);
select array_agg(sequence) from ledger_get('get', 7, 2);
select array_agg(sequence) from ledger_get('get', max_entries => 3);
-- The limit counts the entries that are returned, not those that are passed over.
select array_agg(sequence) from ledger_get('get', key => 'third');
select array_agg(sequence) from ledger_get('get', 3, 1, 'third');
select array_agg(sequence) from ledger_get('get', max_entries => 2, key => '');
select array_agg(sequence) from ledger_get(context => 'get', after_sequence => 8, max_entries => 9, key => 'third');
-- Nothing: at the end, beyond it, no such key, a limit of 0, a context without entries.
select count(*) from ledger_get('get', 10);
select count(*) from ledger_get('get', 11);
select count(*) from ledger_get('get', 9223372036854775807);
select count(*) from ledger_get('get', key => 'none');
select count(*) from ledger_get('get', max_entries => 0);
select count(*) from ledger_get('get, empty');

-- Columns as the table has them, and conditions on top.
select sequence, lamport, context_id, id, metadata from ledger_get('get') where sequence in (2, 4);
-- Ids are no order: pages join up.
select array_agg(sequence) from (
    select sequence from ledger_get('get', 0, 4) union all
    select sequence from ledger_get('get', 4, 4) union all
    select sequence from ledger_get('get', 8, 4)) as page;
-- Lateral, with a position for each context.
select context, e.sequence from (values ('get', 8), ('get, another', 0), ('get, empty', 0)) as p (context, position),
       lateral ledger_get(context, position) as e order by context, e.sequence;

\set VERBOSITY default
savepoint s;
-- Before the beginning is no position, in any context and plan.
select count(*) from ledger_get('get', -1);
\echo :LAST_ERROR_SQLSTATE
rollback to s;
\set VERBOSITY sqlstate
select count(*) from ledger_get('get', -9223372036854775808, 2);
rollback to s;
select count(*) from ledger_get('get, empty', -1);
rollback to s;
select count(*) from ledger_get('get', -1, 0);
rollback to s;
select e.sequence from (values (3), (-3)) as p (position), lateral ledger_get('get', position) as e;
rollback to s;
set local plan_cache_mode = force_generic_plan;
prepare got(bigint) as select count(*) from ledger_get('get', $1);
execute got(0);
savepoint prepared;
execute got(-1);
rollback to prepared;
deallocate got;
rollback to s;
\set VERBOSITY default
select count(*) from ledger_get('get', 0, -1);
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select count(*) from ledger_get('');
\echo :LAST_ERROR_SQLSTATE
rollback;

-- A page is read by the primary key, wherever in the context it begins: the call is inlined and not sorted.
begin;
insert into converge_ledger.entries (context_id, payload)
select 'get, plan ' || i % 7, int4send(i) from generate_series(1, 7000) as i;
analyze converge_ledger.entries;
create function pg_temp.uses_key(query text) returns boolean language plpgsql as $$
declare
    plan jsonb;
begin
    execute 'explain (format json) ' || query into plan;
    return jsonb_path_exists(plan, '$.**."Index Name" ? (@ == "entries_pkey")')
       and not jsonb_path_exists(plan, '$.**."Node Type" ? (@ == "Seq Scan" || @ == "Sort")');
end $$;
select pg_temp.uses_key($$select * from ledger_get('get, plan 3', 990, 5)$$) as page;
rollback;
