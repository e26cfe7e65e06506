select ledger_append_batch('hot', 'measured', array_fill(decode(repeat('62', 100), 'hex'), array[100]),
    '{"src": "bench"}');
