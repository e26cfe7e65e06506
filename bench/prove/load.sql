-- Two contexts, of 10,000 and of :large entries, and the same rows in a plain table.

create table bench.context (context_id text, size bigint);
insert into bench.context values ('small', 10000), ('large', :large);

insert into converge_ledger.entries (context_id, key, payload, metadata)
select context_id, 'measured', decode(repeat('62', 100), 'hex'), '{"src": "bench"}'
  from bench.context cross join lateral generate_series(1, size);
insert into bench.plain (context_id, sequence, lamport, key, payload, metadata)
select context_id, n, n, 'measured', decode(repeat('62', 100), 'hex'), '{"src": "bench"}'
  from bench.context cross join lateral generate_series(1, size) n;
vacuum (freeze, analyze);
checkpoint;
