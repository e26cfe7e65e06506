select ledger_append(
    'bench-' || :run || '-' || :client_id,
    'measured', decode(repeat('62', 100), 'hex'), '{"src": "bench"}');
