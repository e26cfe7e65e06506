select ledger_append('hot', 'measured', decode(repeat('62', 100), 'hex'), '{"src": "bench"}');
