-- Only the node that owns a context appends to it. Another gets an error that names the owner; reading is open to all.

\getenv source PG_ABS_SRCDIR
\set oracle :source '/oracle/format_1.sql'
\set ECHO none
\i :oracle
\set ECHO all
begin;
select ledger_adopt_node('home') as name;
insert into converge_ledger.entries
select (e).* from (select jsonb_populate_record(base, jsonb_build_object('leaf_hash', pg_temp.leaf(base))) as e
    from (select 1::bigint, 1::bigint, '2026-01-02 03:04:05+00'::timestamptz, 1::smallint, 'owned', 'elsewhere', 'facts', 'known', 'x'::bytea,
                 '{}'::jsonb, decode(repeat('00', 16), 'hex'), null::bytea, null::bytea) as v (sequence, lamport, appended_at, format, context_id,
                 origin, key, id, payload, metadata, salt, leaf_hash, content_digest),
         lateral (select row(v.*)::converge_ledger.entries) as b (base)) as _;
select owner from ledger_head('owned');
savepoint s;
\set VERBOSITY default
select ledger_append('owned', 'facts', 'y');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
insert into converge_ledger.entries (context_id, payload) values ('owned', 'y');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select * from ledger_append_batch('owned', 'facts', '{y}');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select * from ledger_append_rows('owned', '{facts,facts}', '{y,z}');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
copy converge_ledger.entries (context_id, payload) from stdin;
owned	y
\.
\echo :LAST_ERROR_SQLSTATE
rollback to s;
-- Whatever way the rows take: as a query, over a conflict, through a trigger that keeps them from being stamped together.
\set VERBOSITY sqlstate
insert into converge_ledger.entries (context_id, payload) select 'owned', 'y' from generate_series(1, 3);
rollback to s;
insert into converge_ledger.entries (context_id, payload) values ('owned', 'y') on conflict do nothing;
rollback to s;
create function pg_temp.passing() returns trigger language plpgsql as 'begin return new; end';
create trigger passing before insert on converge_ledger.entries for each row execute function pg_temp.passing();
savepoint t;
select ledger_append('owned', 'facts', '{}'::jsonb);
rollback to t;
select * from ledger_append_batch('owned', 'facts', '{y}');
rollback to t;
copy converge_ledger.entries (context_id, payload) from stdin;
owned	y
\.
rollback to s;
-- Not behind another context either, and nothing stays of that one.
insert into converge_ledger.entries (context_id, payload) values ('owned by us', 'y'), ('owned', 'y');
rollback to s;
\set VERBOSITY default
-- What its owner appended is recognised: a retry on another node is no append.
select ledger_append('owned', 'facts', 'x', id => 'known');
-- Every other context is open.
select ledger_append('owned by us', 'facts', 'y');
select ledger_verify_proof('owned', ledger_proof('owned', 1)) as proof;
select count(*) from ledger_get('owned');
select * from ledger_check('owned');
rollback;
