-- The bulk load that is rolled back, on the primary.

\getenv rows BENCH_ROWS
begin;
insert into converge_ledger.entries (context_id, key, payload, metadata)
select 'loaded', 'measured', decode(repeat('62', 100), 'hex'), '{"src": "bench"}'
  from generate_series(1, :rows);
rollback;
