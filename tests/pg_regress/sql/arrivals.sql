-- Rows that come from other nodes are judged as they come, in any order; what does not continue a context is kept aside, and
-- nothing raises an error. (A session whose replication role is replica stands for the apply worker.)

\set home :DBNAME
create database regress_arrivals;
\c regress_arrivals
create extension converge_ledger;
\getenv source PG_ABS_SRCDIR
\set oracle :source '/oracle/format_1.sql'
\set ECHO none
\i :oracle
\set ECHO all
create function pg_temp.arriving(context text, sequence bigint, origin text default 'far', lamport bigint default null, key text default 'facts',
                                 payload bytea default 'x', id text default '')
returns converge_ledger.entries language plpgsql as $$
declare
    e converge_ledger.entries := row(sequence, coalesce(lamport, sequence), '2026-01-02 03:04:05+00', 1, context, origin, key, id,
        payload, '{}', '\x000102030405060708090a0b0c0d0e0f', null, null);
begin
    e.leaf_hash := pg_temp.leaf(e);
    return e;
end $$;
create function pg_temp.takeover(context text, sequence bigint, origin text, root bytea, lamport bigint default null)
returns converge_ledger.entries language sql as $$
    select pg_temp.arriving(context, sequence, origin, lamport, '$takeover', convert_to(format(
        '{"size":%s,"rfc6962":"%s","previous_owner":"far","reason":"test"}', sequence - 1, encode(root, 'hex')), 'UTF8'));
$$;
create function pg_temp.state(of_context text) returns table (what text, sequence bigint, origin text, detail text) language sql as $$
    select 'entry', g.sequence, g.origin, g.key from ledger_get(of_context) g
    union all
    select 'unsettled', u.first, null, u.source from converge_ledger.unsettled u where u.context_id = of_context
    union all
    select 'incident ' || i.kind || case when i.resolved_at is not null then ', resolved' else '' end, i.sequence, i.origin, i.evidence->>'reason'
      from converge_ledger.incidents i where i.context_id = of_context
    union all
    select 'kept', e.sequence, e.origin, null from converge_ledger.incident_entries e where e.context_id = of_context
    union all
    select 'fault ' || c.kind, c.sequence, null, c.detail
      from converge_ledger.contexts x cross join lateral ledger_check(of_context) c where x.context_id = of_context
     order by 1, 2, 3;
$$;
set client_min_messages = error;
set session_replication_role = replica;

-- In order, again, and out of order.
insert into converge_ledger.entries select (pg_temp.arriving('arrive', i)).* from generate_series(1, 3) as i;
insert into converge_ledger.entries select (pg_temp.arriving('arrive', i)).* from generate_series(1, 4) as i;
insert into converge_ledger.entries select (pg_temp.arriving('arrive', i)).* from unnest(array[7, 6]) as i;
select * from pg_temp.state('arrive');
insert into converge_ledger.entries select (pg_temp.arriving('arrive', 5)).*;
select * from pg_temp.state('arrive');

-- Another history: one incident, however many entries follow, and however often they come.
insert into converge_ledger.entries select (pg_temp.arriving('arrive', i, 'other')).* from unnest(array[6, 5, 8, 9, 5, 6, 12]) as i;
insert into converge_ledger.entries select (pg_temp.arriving('arrive', i, 'other')).* from generate_series(4, 14) as i;
select * from pg_temp.state('arrive');
-- The owner goes on.
insert into converge_ledger.entries select (pg_temp.arriving('arrive', 8)).*;
select what, sequence, origin from pg_temp.state('arrive') where what = 'entry' and sequence > 6;

-- A row that is not what its leaf says, a wrong clock, an id that is there twice, a leap of the clock.
with bad as (select (pg_temp.arriving('arrive', 9)).*)
insert into converge_ledger.entries select sequence, lamport, appended_at, format, context_id, origin, key, id, 'y', metadata, salt, leaf_hash, content_digest from bad;
insert into converge_ledger.entries select (pg_temp.arriving('arrive', 9, lamport => 3)).*;
insert into converge_ledger.entries select (pg_temp.arriving('arrive', 9, lamport => 1::bigint << 50)).*;
insert into converge_ledger.entries select (pg_temp.arriving('arrive', 9, id => 'one')).*;
insert into converge_ledger.entries select (pg_temp.arriving('arrive', 10, id => 'one')).*;
insert into converge_ledger.entries select (pg_temp.arriving('arrive', 10)).*;
select * from pg_temp.state('arrive') where what not in ('entry', 'kept') or sequence > 8 and origin <> 'other';

-- A take-over continues the history whose root it states; what follows it belongs to the new owner, and comes first here.
insert into converge_ledger.entries select (pg_temp.arriving('taken', i)).* from generate_series(1, 3) as i;
insert into converge_ledger.entries select (pg_temp.arriving('taken', i, 'second')).* from generate_series(5, 6) as i;
insert into converge_ledger.entries select (pg_temp.takeover('taken', 4, 'third', sha256('another history'))).*;
select * from pg_temp.state('taken');
insert into converge_ledger.entries select (pg_temp.takeover('taken', 4, 'second', ledger_root('taken', 3, 'rfc6962'))).*;
select * from pg_temp.state('taken');
-- Late entries of the first owner.
insert into converge_ledger.entries select (pg_temp.arriving('taken', i)).* from generate_series(4, 8) as i;
insert into converge_ledger.entries select (pg_temp.arriving('taken', 7, 'second')).*;
select * from pg_temp.state('taken');

-- Two first entries, one behind the other: what continues the first one that was judged stays.
insert into converge_ledger.entries select (pg_temp.arriving('begun twice', i, 'b')).* from unnest(array[3, 2]) as i;
insert into converge_ledger.entries select (pg_temp.arriving('begun twice', i, 'a')).* from unnest(array[3, 2, 1]) as i;
select * from pg_temp.state('begun twice');
insert into converge_ledger.entries select (pg_temp.arriving('begun twice', 4, 'b')).*;
insert into converge_ledger.entries select (pg_temp.arriving('begun twice', 4, 'a')).*;
select * from pg_temp.state('begun twice');

-- One origin with two histories: an entry does not say which one it follows, so none is taken on.
insert into converge_ledger.entries select (pg_temp.arriving('restored', i)).* from generate_series(1, 4) as i;
insert into converge_ledger.entries select (pg_temp.arriving('restored', i, payload => 'again')).* from generate_series(3, 6) as i;
select * from pg_temp.state('restored');

-- Undone with its savepoint; what came before stays judged.
begin;
insert into converge_ledger.entries select (pg_temp.arriving('undone', i)).* from generate_series(1, 2) as i;
savepoint s;
insert into converge_ledger.entries select (pg_temp.arriving('undone', i)).* from unnest(array[3, 5]) as i;
rollback to s;
insert into converge_ledger.entries select (pg_temp.arriving('undone', 3, payload => 'other')).*;
commit;
select * from pg_temp.state('undone');
-- Owners append, others do not.
reset session_replication_role;
\set VERBOSITY sqlstate
select ledger_append('arrive', 'facts', 'x');
select ledger_append('undone', 'facts', 'x');
-- Many contexts in one transaction, all out of order.
set session_replication_role = replica;
insert into converge_ledger.entries
select (pg_temp.arriving('many ' || c, s)).* from generate_series(1, 1500) as c, unnest(array[3, 1, 2]) as s;
select count(*), sum(size) from generate_series(1, 1500) as c cross join lateral ledger_head('many ' || c);
select count(*) from converge_ledger.unsettled where context_id like 'many%';
select * from ledger_check();
\c :home
drop database regress_arrivals;
