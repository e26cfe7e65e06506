select write_message(gen_random_uuid()::varchar, ('bench-' || :run || 'x' || :client_id)::varchar,
    'measured', '{"payload": "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"}',
    '{"src": "bench"}');
