-- What the origin has before its replicas come: entries as many writers leave them, their contexts mixed. Variables: rows,
-- contexts.

select ledger_publish() \g /dev/null
insert into converge_ledger.entries (context_id, key, payload, metadata)
select 'copied-' || n % :contexts, 'measured', decode(repeat('62', 100), 'hex'), '{"src": "bench"}'
  from generate_series(1, :rows) n;
vacuum freeze analyze converge_ledger.entries;
