\set n :n + 1
insert into bench.plain (context_id, sequence, lamport, key, payload, metadata)
values ('bench-' || :run || '-' || :client_id, :n, :n,
        'measured', decode(repeat('62', 100), 'hex'), '{"src": "bench"}');
