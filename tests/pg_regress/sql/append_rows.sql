-- ledger_append_rows appends one entry for each place of its arrays, in order.

begin;
select * from ledger_append_rows('rows', array['facts', '', 'intents'], array['\x01', '\x02', '\x03']::bytea[]);
select * from ledger_append_rows(context => 'rows', keys => array['a', 'b'], payloads => array['\x04', '\x05']::bytea[],
    metadata => array['{"a": 1}', '{"b": [1.50e1, "\u00e4"]}']::jsonb[]);
-- No metadata is an empty object for all; no payload is no entry, and no numbers.
select * from ledger_append_rows('rows', '{c}', '{"\\x06"}', null);
select first_sequence is null and last_sequence is null and last_lamport is null as nothing
  from ledger_append_rows('rows', '{}', '{}', '{}');
-- Bounds need not begin at 1, nor be the same.
select * from ledger_append_rows('rows', '[5:6]={d,e}', '[0:1]={"\\x07","\\x08"}');
select sequence, lamport, key, id, payload, metadata from ledger_get('rows');
select * from ledger_check();
rollback;

-- What is refused is refused whole.
begin;
select ledger_append('rows', 'facts', 'x');
savepoint s;
\set VERBOSITY default
select * from ledger_append_rows('rows', '{a,b}', '{x,y,z}');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select * from ledger_append_rows('rows', '{a,b}', '{x,y}', array['{}']::jsonb[]);
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select * from ledger_append_rows('rows', '{}', '{x}');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select * from ledger_append_rows('rows', '{a,null}', '{x,y}');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select * from ledger_append_rows('rows', '{a,b}', '{null,y}');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select * from ledger_append_rows('rows', '{{a},{b}}', '{x,y}');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select * from ledger_append_rows('rows', '{a,b}', '{x,y}', array[['{}', '{}']]::jsonb[]);
\echo :LAST_ERROR_SQLSTATE
rollback to s;
\set VERBOSITY sqlstate
select * from ledger_append_rows(null, '{a}', '{x}');
rollback to s;
select * from ledger_append_rows('rows', null, '{x}');
rollback to s;
select * from ledger_append_rows('rows', '{a}', null);
rollback to s;
-- The limits of each row, the last one included.
select * from ledger_append_rows('', '{a}', '{x}');
rollback to s;
select * from ledger_append_rows(e'r\nows', '{a}', '{x}');
rollback to s;
select * from ledger_append_rows('rows', array['a', '$erase'], '{x,y}');
rollback to s;
select * from ledger_append_rows('rows', array['a', e'\x01'], '{x,y}');
rollback to s;
select * from ledger_append_rows('rows', array['a', repeat('k', 513)], '{x,y}');
rollback to s;
select * from ledger_append_rows('rows', '{a,b}', '{x,y}', array['{}', '[]']::jsonb[]);
rollback to s;
select * from ledger_append_rows('rows', '{a,b}', '{x,y}', array['{}', jsonb_build_object('a', repeat('m', 65536))]);
rollback to s;
set local converge_ledger.max_payload_size = 3;
select * from ledger_append_rows('rows', '{a,b}', '{x,long}');
rollback to s;
\set VERBOSITY default
select sequence, key from ledger_get('rows');
select ledger_append('rows', 'facts', 'y');
rollback;

-- As the caller: his rights, his transaction.
create role regress_nobody;
begin;
select ledger_append('rows', 'facts', 'x');
grant usage on schema public, converge_ledger to regress_nobody;
grant execute on function ledger_append_rows, ledger_append_batch to regress_nobody;
grant select on converge_ledger.entries to regress_nobody;
savepoint s;
set local role regress_nobody;
\set VERBOSITY sqlstate
select * from ledger_append_rows('rows', '{a}', '{x}');
rollback to s;
set local role regress_nobody;
select * from ledger_append_batch('rows', 'a', '{x}');
rollback to s;
select ledger_grant('regress_nobody', 'append');
set local role regress_nobody;
select * from ledger_append_rows('rows', '{a}', '{x}');
rollback;
begin read only;
select * from ledger_append_rows('rows', '{a}', '{x}');
rollback;
begin read only;
select * from ledger_append_batch('rows', 'a', '{x}');
rollback;
drop role regress_nobody;

-- Savepoints and errors that are caught leave no gap.
begin;
select * from ledger_append_rows('rows', '{a,b}', '{1,2}');
savepoint s;
select last_sequence from ledger_append_batch('rows', 'lost', array_fill('x'::bytea, array[600]));
rollback to s;
do $$ begin
    perform ledger_append_batch('rows', 'lost', array_fill('x'::bytea, array[300]));
    raise exception 'caught';
exception when raise_exception then null;
end $$;
select * from ledger_append_rows('rows', '{c,d}', '{3,4}');
insert into converge_ledger.entries (context_id, payload) values ('rows', '5') returning sequence, lamport;
select sequence, lamport, ledger_text(payload) from ledger_get('rows');
select * from ledger_check();
rollback;
