insert into converge_ledger.entries (context_id, key, payload, metadata)
values ('bench-' || :run || '-' || :client_id,
        'measured', decode(repeat('62', 100), 'hex'), '{"src": "bench"}');
