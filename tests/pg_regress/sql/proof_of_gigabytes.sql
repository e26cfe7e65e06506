-- A jsonb of a few hundred kilobytes can print as gigabytes: as a proof it is refused soon, and without holding that text in memory.

-- What the session has held at most, in kilobytes.
create function pg_temp.peak() returns bigint language sql as
$$ select (regexp_match(pg_read_file('/proc/self/status'), 'VmHWM:\s+(\d+) kB'))[1]::bigint $$;
create temp table bomb as
select kind, jsonb_build_object('format', 1, 'kind', kind, 'tree', 'rfc6962', 'path', numbers) as proof
  from unnest(array['inclusion', 'consistency']) as kind,
       (select ('[1' || repeat(', 1e131071', 30000) || ']')::jsonb as numbers) as n;
select kind, pg_column_size(proof) < 1000000 as small from bomb order by kind;

\set VERBOSITY default
set statement_timeout = '10s';
select pg_temp.peak() as before \gset
select ledger_verify_proof(proof, 1, sha256('x')) from bomb where kind = 'inclusion';
\echo :LAST_ERROR_SQLSTATE
select ledger_verify_proof('bomb', proof) from bomb where kind = 'inclusion';
\echo :LAST_ERROR_SQLSTATE
select ledger_verify_consistency(proof, 1, sha256('x'), 2, sha256('y')) from bomb where kind = 'consistency';
\echo :LAST_ERROR_SQLSTATE
select pg_temp.peak() - :before < 1024 * 1024 as less_than_a_gigabyte;
