-- All contexts but the large one, and the same rows in a plain table. Variables: medium, large.

create table bench.context (context_id text, size bigint);
insert into bench.context values
    ('small', 10000), ('hundred', 100000), ('medium', :medium), ('large', :large);

insert into converge_ledger.entries (context_id, key, payload, metadata)
select context_id, 'measured', decode(repeat('62', 100), 'hex'), '{"src": "bench"}'
  from bench.context cross join lateral generate_series(1, size)
 where context_id <> 'large';
insert into bench.plain (context_id, sequence, lamport, key, payload, metadata)
select context_id, n, n, 'measured', decode(repeat('62', 100), 'hex'), '{"src": "bench"}'
  from bench.context cross join lateral generate_series(1, size) n
 where context_id <> 'large';
vacuum (freeze, analyze);
checkpoint;
