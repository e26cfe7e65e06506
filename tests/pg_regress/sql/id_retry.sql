-- An append with an id can be repeated: same context, key and payload give the sequence of the entry that
-- is there already, and nothing new.

begin;
select ledger_append('retry', 'orders', 'first', id => 'a');
select ledger_append('retry', 'orders', 'second', id => 'b');
select ledger_append('retry', 'orders', 'first', id => 'a');
-- Metadata and what was received may differ: the entry stays what it was.
select ledger_append('retry', 'orders', 'first', '{"attempt": 2}', 99, 'a');
select ledger_append('retry', 'orders', 'third', id => 'c');
-- The same id in another context is another entry; an empty id is none.
select ledger_append('retry, another', 'orders', 'first', id => 'a');
select ledger_append('retry', 'orders', 'first');
select ledger_append('retry', 'orders', 'first');
select sequence, lamport, key, id, ledger_text(payload), metadata from ledger_get('retry');

-- INSERT: no row, no RETURNING, no error; and within one statement as well.
insert into converge_ledger.entries (context_id, key, payload, id)
values ('retry', 'orders', 'first', 'a'), ('retry', 'orders', 'fourth', 'd'),
       ('retry', 'orders', 'fourth', 'd'), ('retry', 'orders', 'fifth', 'e')
returning sequence, id;
copy converge_ledger.entries (context_id, key, payload, id) from stdin;
retry	orders	fifth	e
retry	orders	sixth	f
retry	orders	sixth	f
\.
select sequence, lamport, id, ledger_text(payload) from ledger_get('retry', 5);

-- A retry of what was rolled back is an append.
savepoint s;
select ledger_append('retry', 'orders', 'seventh', id => 'g');
rollback to s;
select ledger_append('retry', 'orders', 'another seventh', id => 'g');
select ledger_append('retry', 'orders', 'another seventh', id => 'g');

select * from ledger_check();
rollback;
