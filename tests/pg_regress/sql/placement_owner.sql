-- A complete row of another origin does not continue a context, unless it is a take-over.

\getenv source PG_ABS_SRCDIR
\set oracle :source '/oracle/format_1.sql'
\set ECHO none
\i :oracle
\set ECHO all
create function pg_temp.arriving(context text, sequence bigint, origin text, key text default 'facts', payload bytea default 'x')
returns converge_ledger.entries language plpgsql as $$
declare
    e converge_ledger.entries := row(sequence, sequence, '2026-01-02 03:04:05+00', 1, context, origin,
        key, '', payload, '{}', '\x000102030405060708090a0b0c0d0e0f', null, null);
begin
    e.leaf_hash := pg_temp.leaf(e);
    return e;
end $$;

begin;
insert into converge_ledger.entries select (pg_temp.arriving('origins', i, 'first')).* from generate_series(1, 2) as i;
savepoint s;
\set VERBOSITY default
insert into converge_ledger.entries select (pg_temp.arriving('origins', 3, 'second')).*;
\echo :LAST_ERROR_SQLSTATE
rollback to s;
-- Within one statement, and where this node is the owner.
insert into converge_ledger.entries
select (pg_temp.arriving('origins', sequence, origin)).* from (values (3, 'first'), (4, 'second')) as v (sequence, origin);
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_append('origins, own', 'facts', 'x');
\set VERBOSITY sqlstate
insert into converge_ledger.entries select (pg_temp.arriving('origins, own', 2, 'second')).*;
rollback to s;
-- Case and length count.
insert into converge_ledger.entries select (pg_temp.arriving('origins', 3, 'First')).*;
rollback to s;
insert into converge_ledger.entries select (pg_temp.arriving('origins', 3, 'first ')).*;
rollback to s;
-- Other control entries do not change the owner.
insert into converge_ledger.entries select (pg_temp.arriving('origins', 3, 'second', '$resolve', '{}')).*;
rollback to s;
-- Nor does a take-over of another history, of another size, or that states nothing.
\set VERBOSITY default
insert into converge_ledger.entries
select (pg_temp.arriving('origins', 3, 'second', '$takeover', convert_to(json_build_object('size', 2, 'rfc6962',
    encode(ledger_root('origins', 1, 'rfc6962'), 'hex'), 'previous_owner', 'first', 'reason', 'test')::text, 'UTF8'))).*;
\echo :LAST_ERROR_SQLSTATE
rollback to s;
insert into converge_ledger.entries
select (pg_temp.arriving('origins', 3, 'second', '$takeover', convert_to(json_build_object('size', 1, 'rfc6962',
    encode(ledger_root('origins', 1, 'rfc6962'), 'hex'), 'previous_owner', 'first', 'reason', 'test')::text, 'UTF8'))).*;
rollback to s;
insert into converge_ledger.entries select (pg_temp.arriving('origins', 3, 'second', '$takeover')).*;
rollback to s;
-- A true one does; from then on the new owner's entries continue the context, and the old one's do not.
insert into converge_ledger.entries
select (pg_temp.arriving('origins', 3, 'second', '$takeover', convert_to(json_build_object('size', 2, 'rfc6962',
    encode(ledger_root('origins', 2, 'rfc6962'), 'hex'), 'previous_owner', 'first', 'reason', 'test')::text, 'UTF8'))).*;
insert into converge_ledger.entries select (pg_temp.arriving('origins', 4, 'second')).*;
savepoint s;
\set VERBOSITY sqlstate
insert into converge_ledger.entries select (pg_temp.arriving('origins', 5, 'first')).*;
rollback to s;
select sequence, origin, key from ledger_get('origins');
select owner from ledger_head('origins');
rollback;
