-- A context whose last entry has the sequence 2^53 - 1 is full. Nobody can append that many entries: of those before it, only the ones
-- are there that the search for the last entry reads.

\getenv source PG_ABS_SRCDIR
\set oracle :source '/oracle/format_1.sql'
\set ECHO none
\i :oracle
\set ECHO all
-- The search doubles its steps up to the first sequence that is missing, and then halves the distance: as in src/store/entries.rs.
create function pg_temp.searched(last bigint) returns setof bigint language plpgsql as $$
declare
    look constant bigint := 64;
    low bigint := look;
    step bigint := look;
    high bigint;
begin
    return query select * from generate_series(1, look);
    while low + step <= last loop
        low := low + step;
        step := step * 4;
        return next low;
    end loop;
    high := low + step;
    while high - low >= look loop
        if low + (high - low) / 2 <= last then
            low := low + (high - low) / 2;
            return next low;
        else
            high := low + (high - low) / 2;
        end if;
    end loop;
    return query select * from generate_series(low + 1, last);
end $$;
select ledger_append('full, node', '', 'x');

begin;
alter table converge_ledger.entries disable trigger "~ledger_stamp";
insert into converge_ledger.entries
select arrived.* from (select sequence, row_number() over (order by sequence) as number
                         from (select distinct s from pg_temp.searched((1::bigint << 53) - 3) as s) as p (sequence)) as p,
       lateral (select sequence, number, timestamptz '2026-01-02 03:04:05+00', 1::smallint, 'full', name, 'facts', '', ''::bytea, '{}'::jsonb,
                       '\x000102030405060708090a0b0c0d0e0f'::bytea, null::bytea, null::bytea from converge_ledger.node) as e
           (sequence, lamport, appended_at, format, context_id, origin, key, id, payload, metadata, salt, leaf_hash, content_digest),
       lateral (select (jsonb_populate_record(e::text::converge_ledger.entries, jsonb_build_object('leaf_hash',
                           pg_temp.leaf(e::text::converge_ledger.entries)))).*) as arrived;
alter table converge_ledger.entries enable always trigger "~ledger_stamp";
select ledger_append('full', 'facts', 'last but one') = (1::bigint << 53) - 2 as appended;
insert into converge_ledger.entries (context_id, payload) values ('full', 'last') returning sequence = (1::bigint << 53) - 1 as inserted;
savepoint s;
\set VERBOSITY default
select ledger_append('full', 'facts', 'one too many');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
insert into converge_ledger.entries (context_id, payload) values ('full', 'one too many');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select * from ledger_append_batch('full', 'facts', '{one too many}');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select max(sequence) = (1::bigint << 53) - 1 as unchanged from converge_ledger.entries where context_id = 'full';
-- Others go on.
select ledger_append('full, node', '', 'x');
rollback;
