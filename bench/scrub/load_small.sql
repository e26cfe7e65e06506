-- Many contexts of 100 entries. Variables: small.

insert into converge_ledger.entries (context_id, key, payload, metadata)
select 'small ' || context, 'measured', decode(repeat('62', 100), 'hex'), '{"src": "bench"}'
  from generate_series(1, :small) as context cross join generate_series(1, 100);
vacuum (freeze, analyze) converge_ledger.entries, converge_ledger.subtrees;
checkpoint;
