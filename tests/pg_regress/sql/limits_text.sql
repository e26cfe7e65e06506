-- context, key and id: their limits in bytes, and no control character in any of them. Each way in refuses alike.

begin;
-- At the limit.
select ledger_append(repeat('c', 512), repeat('k', 512), 'x', id => repeat('i', 128));
select ledger_append(repeat('🙂', 128), repeat('ä', 256), 'x', id => repeat('€', 42) || 'ii');
select ledger_append('c', '', 'x', id => '');
-- Above control characters, everything goes: space, soft hyphen, C1, quotes, right-to-left.
select ledger_append(E' ', E'\u0080\u009f', 'x', id => E'\u00ad "''\\ \u202e');
rollback;

\set VERBOSITY default
-- Too long: one byte, one character of several bytes.
select ledger_append(repeat('c', 513), 'k', 'x');
\echo :LAST_ERROR_SQLSTATE
select ledger_append(repeat('🙂', 128) || 'c', 'k', 'x');
\echo :LAST_ERROR_SQLSTATE
select ledger_append('c', repeat('k', 513), 'x');
\echo :LAST_ERROR_SQLSTATE
select ledger_append('c', repeat('ä', 257), 'x');
\echo :LAST_ERROR_SQLSTATE
select ledger_append('c', 'k', 'x', id => repeat('i', 129));
\echo :LAST_ERROR_SQLSTATE
select ledger_append('c', 'k', 'x', id => repeat('€', 43));
\echo :LAST_ERROR_SQLSTATE
-- Empty.
select ledger_append('', 'k', 'x');
\echo :LAST_ERROR_SQLSTATE
-- Control characters; the position is counted in characters.
select ledger_append(E'äb\ncd', 'k', 'x');
\echo :LAST_ERROR_SQLSTATE
select ledger_append('c', E'\u0001', 'x');
\echo :LAST_ERROR_SQLSTATE
select ledger_append('c', 'k', 'x', id => E'abc\u007f');
\echo :LAST_ERROR_SQLSTATE
select ledger_append(E'a\u001f', 'k', 'x');
\echo :LAST_ERROR_SQLSTATE
-- The other ways in.
\set VERBOSITY terse
insert into converge_ledger.entries (context_id, payload) values ('', 'x');
insert into converge_ledger.entries (context_id, payload) values (repeat('c', 513), 'x');
insert into converge_ledger.entries (context_id, key, payload) values ('c', E'a\tb', 'x');
insert into converge_ledger.entries (context_id, id, payload) values ('c', repeat('i', 129), 'x');
select * from ledger_append_batch('', 'k', '{x}');
select * from ledger_append_batch('c', E'\n', '{x}');
copy converge_ledger.entries (context_id, payload) from stdin;
a\tb	x
\.
-- And readers.
select ledger_head('');
select ledger_root(E'a\nb');
select ledger_proof(repeat('c', 513), 1);
select ledger_consistency('', 1);
select ledger_verify_proof('', '{}');
-- All control characters, in each field.
create function pg_temp.try(context text, key text, id text) returns text language plpgsql as $$
begin
    perform ledger_append(context, key, 'x', id => id);
    return 'accepted';
exception when others then
    return sqlstate;
end $$;
select pg_temp.try(c, 'k', '') as context, pg_temp.try('c', c, '') as key, pg_temp.try('c', 'k', c) as id, count(*)
  from generate_series(1, 32) as i, lateral (select 'x' || chr(case i when 32 then 127 else i end) || 'y') as t (c)
 group by 1, 2, 3;

-- $ keys are reserved, from everyone; $ elsewhere is not.
\set VERBOSITY default
select ledger_append('c', '$takeover', 'x');
\echo :LAST_ERROR_SQLSTATE
select ledger_append('c', '$', 'x');
\echo :LAST_ERROR_SQLSTATE
select * from ledger_append_batch('c', '$erase', '{x}');
\echo :LAST_ERROR_SQLSTATE
insert into converge_ledger.entries (context_id, key, payload) values ('c', '$resolve', 'x');
\echo :LAST_ERROR_SQLSTATE
begin;
select ledger_append('$c', 'a$', 'x', id => '$i');
rollback;
