-- The arguments of ledger_append can be named and left out; metadata, received and id reach the entry.

begin;

select ledger_append(context => 'named', key => 'facts', payload => 'x'::text);
select ledger_append(payload => '\x01'::bytea, key => 'intents', context => 'named',
                     id => 'order 1', received => 41, metadata => '{"agent": "a"}');
select ledger_append('named', 'traces', 'x', id => 'order 2');
select ledger_append('named', 'traces', 'x', '{"n": 1.50}');

select sequence, lamport, key, payload, metadata, id
  from converge_ledger.entries where context_id = 'named' order by sequence;

-- From a query: once for each of its rows, in their order.
select i, ledger_append('from a query', 'facts', convert_to('payload ' || i, 'UTF8'))
  from generate_series(1, 3) as i order by i;
select sequence, ledger_text(payload) from ledger_get('from a query');

select * from ledger_check();
rollback;
