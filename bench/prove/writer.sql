select ledger_append('hundred', 'measured', decode(repeat('62', 100), 'hex'), '{"src": "bench"}');
