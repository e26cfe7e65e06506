select ledger_append('local', 'measured', decode(repeat('62', 100), 'hex'), '{"src": "bench"}');
