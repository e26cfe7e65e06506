-- A complete row that was altered after it was hashed, in any of its columns, is refused with context and sequence.

\getenv source PG_ABS_SRCDIR
\set oracle :source '/oracle/format_1.sql'
\set ECHO none
\i :oracle
\set ECHO all
-- An entry as it would arrive from a dump, with its own leaf over whatever it says.
create function pg_temp.arriving(context text, sequence bigint, payload bytea default 'x', lamport bigint default null,
    origin text default 'elsewhere', appended_at timestamptz default '2026-01-02 03:04:05.678901+00', key text default 'facts',
    id text default '', metadata jsonb default '{}', salt bytea default '\x000102030405060708090a0b0c0d0e0f')
returns converge_ledger.entries language plpgsql as $$
declare
    e converge_ledger.entries := row(sequence, coalesce(lamport, sequence), appended_at, 1, context, origin, key, id, payload,
        metadata, salt, null, null);
begin
    e.leaf_hash := pg_temp.leaf(e);
    return e;
end $$;

create temp table good as select * from pg_temp.arriving('altered', 1, 'payload', id => 'id', metadata => '{"a": 1}');
begin;
insert into converge_ledger.entries select * from good;
rollback;

-- The hashes vary with what was altered, not from run to run.
\set VERBOSITY default
insert into converge_ledger.entries select (g).* from (select jsonb_populate_record(g, '{"payload": "\\x00"}') as g from good as g) as _;
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY terse
create function pg_temp.try(change jsonb) returns text language plpgsql as $$
declare
    state text;
    message text;
    detail text;
begin
    insert into converge_ledger.entries select (jsonb_populate_record(g, change)).* from good as g;
    return 'accepted';
exception when others then
    get stacked diagnostics state = returned_sqlstate, message = message_text, detail = pg_exception_detail;
    return state || ' ' || regexp_replace(message, 'x{500,}', 'x…') || case when detail not like 'The fields hash to%' and detail <> '' then ' / ' || detail else '' end;
end $$;
select change, pg_temp.try(change::jsonb) as answer
  from unnest(array[
    '{"payload": "\\x00"}', '{"payload": "\\x"}', '{"metadata": {"a": 2}}', '{"metadata": {"a": 1.0}}', '{"metadata": {}}',
    '{"salt": "\\x00000000000000000000000000000000"}', '{"lamport": 2}', '{"appended_at": "2026-01-02 03:04:05.678902+00"}',
    '{"context_id": "altered2"}', '{"origin": "here"}', '{"key": "fact"}', '{"key": ""}', '{"id": "id2"}', '{"id": ""}',
    '{"sequence": 2}',
    '{"leaf_hash": "\\x0000000000000000000000000000000000000000000000000000000000000000"}',
    '{"leaf_hash": "\\x"}', '{"leaf_hash": "\\x00"}']) as change;

-- Rows that no entry can be, whatever they hash to.
select change, pg_temp.try(change::jsonb) as answer
  from unnest(array[
    '{"format": 2}', '{"format": 0}', '{"salt": "\\x00"}', '{"salt": null}', '{"payload": null}', '{"metadata": null}',
    '{"metadata": [1]}', '{"metadata": 1}',
    '{"content_digest": "\\x0000000000000000000000000000000000000000000000000000000000000000"}',
    '{"payload": null, "metadata": null, "salt": null}',
    '{"payload": null, "metadata": null, "salt": null, "content_digest": "\\x00"}',
    '{"appended_at": "infinity"}', '{"appended_at": "-infinity"}', '{"appended_at": "1969-12-31 23:59:59+00"}',
    '{"appended_at": "290000-01-01 00:00:00+00"}',
    '{"sequence": 0}', '{"sequence": -1}', '{"sequence": 9007199254740992}', '{"lamport": 0}', '{"lamport": 9007199254740992}',
    '{"context_id": ""}', '{"origin": ""}', '{"origin": "a\u0001b"}', '{"key": "a\nb"}', '{"id": "\u007f"}',
    '{"key": "$unknown"}']) as change;
select pg_temp.try(jsonb_build_object('context_id', repeat('x', 513))) as context,
       pg_temp.try(jsonb_build_object('origin', repeat('x', 64))) as origin,
       pg_temp.try(jsonb_build_object('key', repeat('x', 513))) as key,
       pg_temp.try(jsonb_build_object('id', repeat('x', 129))) as id \gx
select pg_temp.try(jsonb_build_object('metadata', jsonb_build_object('a', repeat('x', 65530)))) as metadata \gx

-- Missing columns.
select column_name, pg_temp.try(jsonb_build_object(column_name, null)) as answer
  from unnest(array['sequence', 'lamport', 'appended_at', 'format', 'context_id', 'origin', 'key', 'id', 'leaf_hash']) as column_name;

-- An erased row keeps its leaf: the digest is hashed in place of the content.
begin;
insert into converge_ledger.entries
select (jsonb_populate_record(g, jsonb_build_object('payload', null, 'metadata', null, 'salt', null,
            'content_digest', pg_temp.content_digest(g)))).* from pg_temp.arriving('altered', 1) as g;
select sequence, payload is null as erased, octet_length(content_digest) from ledger_get('altered');
-- Nothing names it: a fault.
select sequence, kind from ledger_check('altered');
rollback;

-- A clock that does not rise is refused where the context is continued.
begin;
insert into converge_ledger.entries select * from pg_temp.arriving('clock stands', 1, lamport => 5);
savepoint s;
\set VERBOSITY default
insert into converge_ledger.entries select * from pg_temp.arriving('clock stands', 2, lamport => 5);
\echo :LAST_ERROR_SQLSTATE
rollback to s;
insert into converge_ledger.entries select * from pg_temp.arriving('clock stands', 2, lamport => 6);
rollback;

-- Of a statement with one bad row, nothing stays.
\set VERBOSITY terse
insert into converge_ledger.entries
select (pg_temp.arriving('altered', 1)).* union all
select (jsonb_populate_record(pg_temp.arriving('altered', 2), '{"payload": "\\x00"}')).*;
select count(*) from converge_ledger.entries where context_id like 'altered%';
