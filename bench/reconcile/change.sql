-- One entry more in each of ten contexts. Variables: contexts.

insert into converge_ledger.entries (context_id, key, payload, metadata)
select 'context ' || number * (:contexts / 10), 'measured', decode(repeat('62', 100), 'hex'), '{"src": "bench"}'
  from generate_series(0, 9) as number;
