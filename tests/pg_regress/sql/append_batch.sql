-- ledger_append_batch appends one entry for each payload, in order, and returns what became of them.

begin;
select * from ledger_append_batch('batch', 'facts', array['\x01', '\x02', '\x03']::bytea[]);
-- Every entry of a batch gets the metadata; the first one follows what was received.
select * from ledger_append_batch(
    context => 'batch', key => 'intents', payloads => array['\x04', '\x05']::bytea[],
    metadata => '{"a": 1}', received => 100);
-- No payload: no entry, and no numbers.
select * from ledger_append_batch('batch', 'facts', '{}');
select first_sequence is null and last_sequence is null and last_lamport is null as nothing
  from ledger_append_batch('batch', 'facts', '{}');
-- One; and bounds that do not begin at 1.
select * from ledger_append_batch('batch', 'facts', '{"\\x06"}');
select * from ledger_append_batch('batch', 'facts', '[5:6]={"\\x07","\\x08"}');

select sequence, lamport, key, payload, metadata from ledger_get('batch');
-- Once, also where the row is expanded.
select (ledger_append_batch('batch', 'facts', '{"\\x09"}')).last_sequence;
select count(*) from ledger_get('batch');

-- Larger than a block, and than the 128 salts that are drawn at a time.
select * from ledger_append_batch('large batch', 'facts',
    (select array_agg(int4send(i) order by i) from generate_series(1, 600) as i));
select count(*), count(distinct salt) as salts,
       bool_and(payload = int4send(sequence::int)) as in_order
  from ledger_get('large batch');

select * from ledger_check();
rollback;

-- What is refused is refused whole.
begin;
savepoint s;
\set VERBOSITY default
select * from ledger_append_batch('batch', 'facts', array['\x01', null, '\x03']::bytea[]);
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select * from ledger_append_batch('batch', 'facts', array[['\x01', '\x02'], ['\x03', '\x04']]::bytea[]);
\echo :LAST_ERROR_SQLSTATE
rollback to s;
set local converge_ledger.max_payload_size = 3;
select * from ledger_append_batch('batch', 'facts', array['\x01', '\x01020304']::bytea[]);
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select count(*) from ledger_get('batch');
rollback;
