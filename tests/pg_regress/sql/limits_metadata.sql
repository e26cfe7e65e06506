-- Metadata: a JSON object of at most 65,536 bytes as text. What would print larger is refused while it is printed.

begin;
-- {"a": "…"} has nine bytes around the string.
select ledger_append('metadata', 'facts', 'x', jsonb_build_object('a', repeat('x', 65527)));
select ledger_append('metadata', 'facts', 'x', jsonb_build_object('a', repeat('ä', 32763)));
select ledger_append('metadata', 'facts', 'x', ('{"n": 1' || repeat('0', 65528) || '}')::jsonb);
select sequence, octet_length(metadata::text) as bytes from ledger_get('metadata');
select ledger_verify_proof('metadata', ledger_proof('metadata', 1)) as proof;
select * from ledger_check('metadata');
rollback;

\set VERBOSITY default
select ledger_append('metadata', 'facts', 'x', jsonb_build_object('a', repeat('x', 65528)));
\echo :LAST_ERROR_SQLSTATE
-- Escapes count as they are printed.
select ledger_append('metadata', 'facts', 'x', jsonb_build_object('a', repeat(E'\u0001', 10922)));
\echo :LAST_ERROR_SQLSTATE
select ledger_append('metadata', 'facts', 'x', '[]');
\echo :LAST_ERROR_SQLSTATE
select ledger_append('metadata', 'facts', 'x', '"x"');
\echo :LAST_ERROR_SQLSTATE
select ledger_append('metadata', 'facts', 'x', 'null');
\echo :LAST_ERROR_SQLSTATE
select ledger_append('metadata', 'facts', 'x', '1');
\echo :LAST_ERROR_SQLSTATE
insert into converge_ledger.entries (context_id, payload, metadata) values ('metadata', 'x', '[{}]');
\echo :LAST_ERROR_SQLSTATE
select * from ledger_append_batch('metadata', 'facts', '{x}', '[]');
\echo :LAST_ERROR_SQLSTATE

-- One number that prints as 131 kB; and 9 kB of JSON that would print as 131 MB, which a second is more than enough to refuse
-- a hundred times.
select ledger_append('metadata', 'facts', 'x', '{"n": 1e131071}');
\echo :LAST_ERROR_SQLSTATE
select ledger_append('metadata', 'facts', 'x', '{"n": -1e70000}');
\echo :LAST_ERROR_SQLSTATE
create temp table bomb as select ('{"n": [' || string_agg('1e131071', ',') || ']}')::jsonb as json from generate_series(1, 1000);
do $$
declare
    started constant timestamptz := clock_timestamp();
begin
    for i in 1 .. 100 loop
        begin
            perform ledger_append('metadata', 'facts', 'x', json) from bomb;
            raise 'accepted';
        exception when program_limit_exceeded then
            null;
        end;
        begin
            perform ledger_append('metadata', 'facts', json) from bomb;
            raise 'accepted';
        exception when program_limit_exceeded then
            null;
        end;
    end loop;
    raise notice 'in time: %', clock_timestamp() - started < interval '20 seconds';
end $$;
-- As small as a number can be, and nested a thousand times: no matter of size.
begin;
select ledger_append('metadata', 'facts', 'x', '{"n": 1e-16383}');
select ledger_append('metadata', 'facts', 'x', ('{"a": ' || repeat('[', 1000) || repeat(']', 1000) || '}')::jsonb);
select octet_length(metadata::text) from ledger_get('metadata');
rollback;
select count(*) from ledger_get('metadata');
