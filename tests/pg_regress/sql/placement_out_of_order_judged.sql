-- Complete rows that arrive out of order are judged like those in order, once the gap before them is closed: by their origin and
-- by their Lamport time.

\getenv source PG_ABS_SRCDIR
\set oracle :source '/oracle/format_1.sql'
\set ECHO none
\i :oracle
\set ECHO all
create function pg_temp.arriving(context text, sequence bigint, lamport bigint, origin text default 'first', key text default 'facts',
    payload bytea default 'x')
returns converge_ledger.entries language plpgsql as $$
declare
    e converge_ledger.entries := row(sequence, lamport, '2026-01-02 03:04:05+00', 1, context, origin,
        key, '', payload, '{}', '\x000102030405060708090a0b0c0d0e0f', null, null);
begin
    e.leaf_hash := pg_temp.leaf(e);
    return e;
end $$;
select ledger_append('node of disorder', '', 'x');
\set VERBOSITY default
-- Prepared and undone: whatever is accepted, nothing stays.
set converge_ledger.notify = off;

begin;
insert into converge_ledger.entries
select (pg_temp.arriving('disorder, origin', s, s, o)).* from (values (3, 'second'), (1, 'first'), (2, 'first')) as v (s, o);
prepare transaction 'disorder, origin';
begin;
insert into converge_ledger.entries
select (pg_temp.arriving('disorder, first', s, s, o)).* from (values (2, 'second'), (3, 'second'), (1, 'first')) as v (s, o);
prepare transaction 'disorder, first';
begin;
insert into converge_ledger.entries
select (pg_temp.arriving('disorder, clock', s, l)).* from (values (3, 2), (1, 5), (2, 6)) as v (s, l);
prepare transaction 'disorder, clock';
-- The clock stands still, far behind the gap.
begin;
insert into converge_ledger.entries
select (pg_temp.arriving('disorder, still', s, least(s, 150))).* from generate_series(200, 1, -1) as s;
prepare transaction 'disorder, still';
-- An append closes the gap as well.
begin;
insert into converge_ledger.entries
select (pg_temp.arriving('disorder, append', s, s, o)).*
  from (select name from converge_ledger.node) as n (node), lateral (values (3, 'second'), (1, node), (2, node)) as v (s, o);
\set VERBOSITY sqlstate
select ledger_append('disorder, append', 'facts', 'x');
\set VERBOSITY default
prepare transaction 'disorder, append';
select gid from pg_prepared_xacts where gid like 'disorder%' order by gid;
select format('rollback prepared %L', gid) from pg_prepared_xacts where gid like 'disorder%' order by gid \gexec

-- A take-over that arrived early is one if it states the entries that close the gap, and what follows it belongs to the new owner.
create function pg_temp.takeover(root bytea) returns bytea language sql as $$
    select convert_to(format('{"size":2,"rfc6962":"%s","previous_owner":"first","reason":"test"}', encode(root, 'hex')), 'UTF8')
$$;
begin;
insert into converge_ledger.entries
select (pg_temp.arriving('disorder, taken over', s, s, o, k, p)).*
  from (values (4, 'second', 'facts', 'x'::bytea),
               (3, 'second', '$takeover', pg_temp.takeover(sha256('\x01'::bytea
                    || (pg_temp.arriving('disorder, taken over', 1, 1)).leaf_hash || (pg_temp.arriving('disorder, taken over', 2, 2)).leaf_hash))),
               (2, 'first', 'facts', 'x'),
               (1, 'first', 'facts', 'x')) as v (s, o, k, p);
prepare transaction 'disorder, taken over';
rollback prepared 'disorder, taken over';
begin;
insert into converge_ledger.entries
select (pg_temp.arriving('disorder, other history', s, s, o, k, p)).*
  from (values (3, 'second', '$takeover', pg_temp.takeover(sha256('another'))),
               (2, 'first', 'facts', 'x'),
               (1, 'first', 'facts', 'x')) as v (s, o, k, p);
prepare transaction 'disorder, other history';
select count(*) from converge_ledger.entries where context_id like 'disorder%';
reset converge_ledger.notify;
