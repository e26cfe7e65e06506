-- An id that belongs to an entry with another key or payload is refused, and leaves no gap.

begin;
select ledger_append('conflict', 'orders', 'first', id => 'a');
savepoint s;
\set VERBOSITY default
select ledger_append('conflict', 'orders', 'other', id => 'a');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_append('conflict', 'invoices', 'first', id => 'a');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
-- INSERT: the unique index says it.
insert into converge_ledger.entries (context_id, key, payload, id) values ('conflict', 'orders', 'other', 'a');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
-- ON CONFLICT DO NOTHING passes over it, a retry included, and numbers the rows that stay.
insert into converge_ledger.entries (context_id, key, payload, id)
values ('conflict', 'orders', 'second', 'b'), ('conflict', 'orders', 'other', 'a'),
       ('conflict', 'orders', 'first', 'a'), ('conflict', 'orders', 'third', 'c'),
       ('conflict', 'orders', 'other', 'b'), ('conflict', 'orders', 'fourth', '')
on conflict do nothing returning sequence, id;
insert into converge_ledger.entries (context_id, key, payload, id)
values ('conflict', 'orders', 'other', 'a'), ('conflict', 'orders', 'fifth', 'e')
on conflict (context_id, id) where id <> '' do nothing returning sequence, id;
-- A handler that goes on.
do $$
begin
    perform ledger_append('conflict', 'orders', 'other', id => 'e');
exception when unique_violation then
    perform ledger_append('conflict', 'orders', 'sixth', id => 'f');
end $$;
-- A conflict may be the only thing a context ever sees.
insert into converge_ledger.entries (context_id, key, payload, id)
values ('conflict, another', 'orders', 'x', 'a'), ('conflict, another', 'orders', 'y', 'a')
on conflict do nothing returning sequence;

select sequence, id, ledger_text(payload) from ledger_get('conflict');
select * from ledger_check();
rollback;
