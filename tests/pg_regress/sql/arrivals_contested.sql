-- Entries of a peer at the places, or with the ids, of those that the owner sends later must neither keep these out nor lose them.

\set home :DBNAME
create database regress_contested;
\c regress_contested
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


-- The owner's entries come together behind those of another one, which wait for what is before them.
insert into converge_ledger.entries select (pg_temp.arriving('places', i)).* from generate_series(1, 2) as i;
insert into converge_ledger.entries select (pg_temp.arriving('places', i, 'other')).* from generate_series(4, 6) as i;
insert into converge_ledger.entries select (pg_temp.arriving('places', i)).* from generate_series(3, 8) as i;
select * from pg_temp.state('places');

-- They come before the one that decides, so they are kept aside, and put back in one go.
insert into converge_ledger.entries select (pg_temp.arriving('aside', i, 'other')).* from unnest(array[2, 7]) as i;
insert into converge_ledger.entries select (pg_temp.arriving('aside', i)).* from unnest(array[2, 3, 4, 6, 7, 5, 1]) as i;
select * from pg_temp.state('aside');

-- However many they are, with their contents, and quickly.
insert into converge_ledger.entries select (pg_temp.arriving('long', i, 'other')).* from unnest(array[2, 20000]) as i;
insert into converge_ledger.entries select (pg_temp.arriving('long', i)).* from generate_series(2, 20050) as i;
insert into converge_ledger.entries select (pg_temp.arriving('long', 1)).*;
select size, owner from ledger_head('long');
select count(*) filter (where payload is null) as without_content from converge_ledger.entries where context_id = 'long';
select kind, sequence, origin, resolution from converge_ledger.incidents where context_id = 'long' order by incident_id;
select count(*) from converge_ledger.incident_entries where context_id = 'long';

-- An id of the owner's that another entry, far beyond, has taken.
insert into converge_ledger.entries select (pg_temp.arriving('ids', 1)).*;
insert into converge_ledger.entries select (pg_temp.arriving('ids', 1000, 'other', id => 'order 7')).*;
insert into converge_ledger.entries select (pg_temp.arriving('ids', 3, id => 'order 7')).*;
insert into converge_ledger.entries select (pg_temp.arriving('ids', 2)).*;
select * from pg_temp.state('ids');
insert into converge_ledger.entries select (pg_temp.arriving('ids', 2000, 'other', id => 'order 8')).*;
insert into converge_ledger.entries select (pg_temp.arriving('ids', 4, id => 'order 8')).*;
-- One that is judged keeps it.
insert into converge_ledger.entries select (pg_temp.arriving('ids', 5, id => 'order 8')).*;
insert into converge_ledger.entries select (pg_temp.arriving('ids', 5)).*;
select * from pg_temp.state('ids');

-- A wrong clock is the fault of one entry, not of those that follow it.
insert into converge_ledger.entries select (pg_temp.arriving('clock', i, lamport => case i when 2 then 1 end)).* from unnest(array[2, 3, 4, 1]) as i;
insert into converge_ledger.entries select (pg_temp.arriving('clock', 2)).*;
select * from pg_temp.state('clock');

-- Rows that are no entries are recognised when they come again, whatever they lack, and whatever is too long for an index.
insert into converge_ledger.entries select null, lamport, appended_at, 1, context_id, null, key, id, payload, metadata, salt, leaf.hash, null
  from pg_temp.arriving('damaged', 1), generate_series(1, 2), (values (sha256('x')), (convert_to(repeat('x', 100000), 'UTF8'))) as leaf (hash);
select kind, sequence, origin, length(leaf_hash) from converge_ledger.incidents where context_id = 'damaged' order by length(leaf_hash);
\c :home
drop database regress_contested;
