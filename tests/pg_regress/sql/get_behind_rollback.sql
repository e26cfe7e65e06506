-- Rows of a rolled-back transaction are never read, however many there are and whoever reads.

begin;
insert into converge_ledger.entries (context_id, payload) select 'rolled back', int4send(i) from generate_series(1, 5) as i;
savepoint s;
insert into converge_ledger.entries (context_id, payload) select 'rolled back', int4send(-i) from generate_series(1, 3000) as i;
select (ledger_head('rolled back')).size;
rollback to s;
select count(*), max(sequence) from ledger_get('rolled back');
select (ledger_head('rolled back')).size;
select array_agg(sequence) from ledger_get('rolled back', 3);
select ledger_append('rolled back', '', 'six');
select array_agg(sequence) from ledger_get('rolled back', 3);
select * from ledger_check('rolled back');
rollback;
