select ledger_append(
    'feed-' || :client_id, 'measured', decode(repeat('62', 100), 'hex'), '{"src": "bench"}');
