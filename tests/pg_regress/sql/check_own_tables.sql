-- What is changed past the guards of the tables that the ledger keeps for itself: ledger_check reports each, ledger_rebuild repairs what can be
-- derived, and what decides where to look does not depend on it.

-- A database of its own: all contexts are checked.
\set home :DBNAME
create database regress_own_tables;
\c regress_own_tables
create extension converge_ledger;
set client_min_messages = error;
\getenv tests PG_ABS_SRCDIR
\set past :tests '/common/past.sql'
\i :past
\pset null -
select ledger_set_node('here');
insert into converge_ledger.entries (context_id, key, payload) select 'a', 'facts', int4send(i) from generate_series(1, 300) as i;
insert into converge_ledger.entries (context_id, key, payload) select 'b', 'facts', int4send(i) from generate_series(1, 10) as i;
insert into converge_ledger.entries (context_id, key, payload) values ('c', 'facts', 'x');
select converge_ledger.refresh_digests();
select ledger_scrub();
select * from ledger_check();
select bucket, contexts from converge_ledger.peer_digests_1(1);

create function pg_temp.faults() returns text language sql as $$
    select coalesce(string_agg(concat_ws(' ', kind, context_id, sequence) || ': ' || detail, e'\n' order by kind, context_id, sequence, detail), 'none')
      from ledger_check()
$$;
-- What is reported after a change, what is left after ledger_rebuild, and whether digests are those of before; undone afterwards.
create function pg_temp.tried(change text) returns table (reported text, rebuilt text, digests text) language plpgsql as $$
declare
    before text;
begin
    begin
        before := (select string_agg(digest::text, '') from converge_ledger.peer_digests_1(64));
        perform pg_temp.past(change);
        reported := pg_temp.faults();
        digests := case when before = (select string_agg(digest::text, '') from converge_ledger.peer_digests_1(64)) then 'same' else 'other' end;
        perform ledger_rebuild();
        rebuilt := pg_temp.faults();
        raise exception using errcode = 'ZZ000';
    exception when sqlstate 'ZZ000' then return next;
    end;
end $$;
\x
\t
-- The registry.
select t.* from unnest(array[
    $$delete from converge_ledger.contexts where context_id = 'b'$$,
    $$truncate converge_ledger.contexts$$,
    $$truncate converge_ledger.contexts, converge_ledger.digests$$,
    $$insert into converge_ledger.contexts values ('aa'), ('zz')$$]) as c (change), lateral pg_temp.tried(change) as t;
-- What is pending.
select t.* from unnest(array[
    $$insert into converge_ledger.unsettled values (5, 'b', '', now() - interval '1 hour')$$,
    $$insert into converge_ledger.unsettled values (1, 'c', '', '-infinity'), (5, 'c', '', 'infinity')$$,
    $$insert into converge_ledger.unsettled values (50, 'b', '', now() + interval '1 hour')$$,
    $$insert into converge_ledger.unsettled values (3, 'aa', '', now() - interval '1 hour'), (1, 'zz', '', now() - interval '1 hour')$$,
    -- Such as arrive at this moment.
    $$insert into converge_ledger.unsettled values (5, 'b', '', now())$$]) as c (change), lateral pg_temp.tried(change) as t;
-- A gap whose mark is lost: what stands behind it is marked again.
select t.* from pg_temp.tried($$delete from converge_ledger.entries where (context_id, sequence) = ('b', 5)$$) as t;
begin;
select pg_temp.past($$delete from converge_ledger.entries where (context_id, sequence) = ('b', 5)$$) \g /dev/null
select ledger_rebuild();
select first, context_id from converge_ledger.unsettled;
select count(*) from ledger_get('b');
rollback;
-- Cached roots.
select t.* from unnest(array[
    $$update converge_ledger.digests set rfc6962 = sha256('wrong') where context_id = 'b'$$,
    $$update converge_ledger.digests set rfc6962 = '\x00' where context_id = 'b'$$,
    $$update converge_ledger.digests set size = -1 where context_id = 'b'$$,
    $$insert into converge_ledger.digests values (1, 'aa', sha256('x'), sha256('x')), (1, 'zz', sha256('x'), sha256('x'))$$,
    -- Old rows are renewed.
    $$update converge_ledger.digests set size = 9 where context_id = 'b'$$,
    $$truncate converge_ledger.digests$$]) as c (change), lateral pg_temp.tried(change) as t;
-- What the scrub knows.
select t.* from unnest(array[
    $$update converge_ledger.scrubbed set known = 12 where context_id = 'b'$$,
    $$update converge_ledger.scrubbed set known = 11 where context_id = 'b'$$,
    $$update converge_ledger.scrubbed set known = -1 where context_id = 'b'$$,
    $$update converge_ledger.scrubbed set faults = -1 where context_id = 'b'$$,
    $$insert into converge_ledger.scrubbed values (7, 0, 'aa'), (1, 0, 'zz')$$,
    $$truncate converge_ledger.scrubbed$$,
    $$update converge_ledger.scrub_pass set sequence = 7$$,
    $$update converge_ledger.scrub_pass set context_id = 'z'$$,
    $$update converge_ledger.scrub_pass set entries = -1$$,
    $$update converge_ledger.scrub_pass set began_at = now(), context_id = 'a', sequence = 256$$,
    $$truncate converge_ledger.scrub_pass$$]) as c (change), lateral pg_temp.tried(change) as t;
-- The end of a context that the scrub has read.
select t.* from unnest(array[
    $$delete from converge_ledger.entries where context_id = 'b' and sequence > 7$$,
    $$delete from converge_ledger.entries where context_id = 'c'$$]) as c (change), lateral pg_temp.tried(change) as t;
-- Rounds with peers.
select t.* from unnest(array[
    $$insert into converge_ledger.peer_rounds values (now(), 'infinity', 0, 0, 0, 0, 1, 0, 0, 0, true, 'p')$$,
    $$insert into converge_ledger.peer_rounds values ('2999-01-01', '2999-01-01', 0, 0, 0, 0, 1, 0, 0, 0, true, 'p')$$,
    $$insert into converge_ledger.peer_rounds values (now(), now(), 0, 0, 0, 0, 1, 0, 0, -1, true, 'p')$$,
    $$insert into converge_ledger.peer_rounds values (now(), now() + interval '10 min', 0, 0, 0, 0, 1, 0, 0, 5, true, 'p')$$])
    as c (change), lateral pg_temp.tried(change) as t;
-- Fences and their incidents.
select regexp_replace(t.reported, '\d+', 'N', 'g') as reported, regexp_replace(t.rebuilt, '\d+', 'N', 'g') as rebuilt, t.digests from unnest(array[
    $$insert into converge_ledger.halted (incident_id, since, size, context_id) values (1, now(), 20, 'b')$$,
    $$insert into converge_ledger.incidents (kind, context_id, sequence) values ('rollback', 'b', 11);
      insert into converge_ledger.halted (incident_id, since, size, context_id) select max(incident_id), now(), 20, 'b' from converge_ledger.incidents$$,
    $$insert into converge_ledger.incidents (kind, context_id, sequence) values ('rollback', 'c', 11);
      insert into converge_ledger.halted (incident_id, since, size, context_id) select max(incident_id), now(), 20, 'b' from converge_ledger.incidents$$,
    $$insert into converge_ledger.incidents (kind, context_id, sequence) values ('fork', 'b', 11);
      insert into converge_ledger.halted (incident_id, since, size, context_id) select max(incident_id), now(), 20, 'b' from converge_ledger.incidents$$,
    $$insert into converge_ledger.incidents (kind, context_id, sequence, resolved_at) values ('rollback', 'b', 11, now());
      insert into converge_ledger.halted (incident_id, since, size, context_id) select max(incident_id), now(), 20, 'b' from converge_ledger.incidents$$,
    $$insert into converge_ledger.incidents (kind, context_id, sequence, evidence) values ('rollback', 'b', 11, '{"alarm": 20}')$$,
    $$insert into converge_ledger.incidents (kind, context_id, sequence, evidence) values ('rollback', 'b', 11, '{"alarm": "many"}')$$])
    as c (change), lateral pg_temp.tried(change) as t;
-- A fence that was lost holds again.
begin;
select pg_temp.past($$insert into converge_ledger.incidents (kind, context_id, sequence, evidence)
                      values ('rollback', 'b', 11, '{"alarm": 20}'), ('rollback', 'c', 2, '{"alarm": 5, "decision": "keep_theirs"}')$$) \g /dev/null
select ledger_rebuild();
select context_id, size, reason from converge_ledger.halted order by context_id;
\set VERBOSITY sqlstate
select ledger_append('b', 'facts', 'x');
\set VERBOSITY default
rollback;
-- Alarms of peers, which stop all appends, and their incidents.
select regexp_replace(t.reported, '\d+', 'N', 'g') as reported, regexp_replace(t.rebuilt, '\d+', 'N', 'g') as rebuilt, t.digests from unnest(array[
    $$insert into converge_ledger.peer_alarms values ('p', false, now(), 0, null)$$,
    $$insert into converge_ledger.peer_alarms values ('p', true, now(), null, null)$$,
    $$insert into converge_ledger.incidents (kind, source, context_id) values ('peer alarm', 'q', 'b');
      insert into converge_ledger.peer_alarms select 'p', false, now(), max(incident_id), null from converge_ledger.incidents$$,
    $$insert into converge_ledger.incidents (kind, source, context_id) values ('peer alarm', 'p', 'b');
      insert into converge_ledger.peer_alarms select 'p', false, now(), max(incident_id), null from converge_ledger.incidents$$,
    $$insert into converge_ledger.incidents (kind, source, context_id) values ('peer alarm', 'p', 'b');
      insert into converge_ledger.peer_alarms values ('p', true, now(), null, null)$$])
    as c (change), lateral pg_temp.tried(change) as t;
-- An alarm that was lost holds again, and can be decided; one without an incident ends, and what was excluded stays so.
begin;
select pg_temp.past($$insert into converge_ledger.incidents (kind, source, context_id) values ('peer alarm', 'p', 'b');
                      insert into converge_ledger.incidents (kind, source, context_id, evidence) values ('peer alarm', 'q', 'b', '{"decision": "keep_theirs"}');
                      insert into converge_ledger.peer_alarms values ('r', true, now(), 0, null), ('s', false, now(), 0, null)$$) \g /dev/null
select ledger_rebuild();
select peer, excluded, incident_id is not null as alarm, reason from converge_ledger.peer_alarms order by peer;
\set VERBOSITY sqlstate
savepoint s;
select ledger_append('c', 'facts', 'x');
rollback to savepoint s;
\set VERBOSITY default
select can_append from ledger_can_append('c');
select resolved from ledger_resolve_peer('p', 'keep_mine', 'why') union all select resolved from ledger_resolve_peer('q', 'keep_mine', 'why');
select can_append from ledger_can_append('c');
rollback;
-- Quarantined entries without their incident.
select regexp_replace(t.reported, 'incident \d+', 'incident N', 'g') as reported, t.rebuilt = t.reported as "the same" from unnest(array[
    $$insert into converge_ledger.incident_entries (incident_id, sequence, context_id, source, arrived_at) values (0, 7, 'b', '', now())$$,
    $$insert into converge_ledger.incidents (kind, context_id, sequence) values ('fork', 'b', 11);
      insert into converge_ledger.incident_entries (incident_id, sequence, context_id, source, arrived_at)
      select incident_id, 12, of, '', now() from converge_ledger.incidents, unnest(array['b', 'c']) as of$$])
    as c (change), lateral pg_temp.tried(change) as t;
\t
\x

-- The scrub repairs the registry by itself, so that it is whole again after a pass.
begin;
select pg_temp.past($$delete from converge_ledger.contexts where context_id in ('a', 'c'); insert into converge_ledger.contexts values ('aa'), ('zz')$$) \g /dev/null
select ledger_scrub();
select last_faults from converge_ledger.scrub_pass;
select context_id from converge_ledger.contexts order by context_id;
select * from ledger_check();
select ledger_scrub();
select last_faults from converge_ledger.scrub_pass;
rollback;
-- It changes nothing where nothing is to be repaired.
begin;
set local converge_ledger.repair = report;
select pg_temp.past($$delete from converge_ledger.contexts where context_id = 'a'$$) \g /dev/null
select ledger_scrub();
select last_faults from converge_ledger.scrub_pass;
select context_id from converge_ledger.contexts order by context_id;
rollback;
-- Nor does it take a context for missing whose entries are all pending.
begin;
select pg_temp.past($$delete from converge_ledger.contexts where context_id = 'c'; insert into converge_ledger.unsettled values (1, 'c', '', now())$$) \g /dev/null
select ledger_scrub();
select last_faults from converge_ledger.scrub_pass;
select * from ledger_check();
rollback;

-- Names and sizes for peers are there whatever the registry and the cache say, also for a session that has looked at all contexts before.
begin;
select pg_temp.past('truncate converge_ledger.contexts') \g /dev/null
select context_id, size from converge_ledger.peer_heads_1(1, null);
select context_id, size from converge_ledger.peer_contexts_1() order by context_id;
select pg_temp.past('truncate converge_ledger.digests') \g /dev/null
select context_id, size from converge_ledger.peer_heads_1(1, null);
select sum(contexts) from converge_ledger.peer_digests_1(64);
select context_id, size from converge_ledger.peer_heads_1(64, null);
select pg_temp.past($$insert into converge_ledger.contexts values ('b')$$) \g /dev/null
select context_id, size from converge_ledger.peer_heads_1(64, null);
select context_id, size from converge_ledger.peer_contexts_1() order by context_id;
select converge_ledger.refresh_digests();
select context_id, size from converge_ledger.digests order by context_id;
rollback;
-- Rows of the cache without a context go when it is filled.
begin;
select pg_temp.past($$insert into converge_ledger.digests values (1, 'aa', sha256('x'), sha256('x')), (1, 'zz', sha256('x'), sha256('x'))$$) \g /dev/null
select converge_ledger.refresh_digests();
select context_id, size from converge_ledger.digests order by context_id;
rollback;

-- The row that says who this node is: where it has appended under the name that it gave itself, its loss is seen.
create database regress_own_tables_unnamed;
\c regress_own_tables_unnamed
create extension converge_ledger;
set client_min_messages = error;
\i :past
select ledger_append('a', 'facts', 'x');
begin;
select pg_temp.past('delete from converge_ledger.node') \g /dev/null
select kind, regexp_replace(detail, '"[^"]*"', '"..."') as detail from ledger_check();
rollback;
\c :home
set client_min_messages = error;
drop database regress_own_tables;
drop database regress_own_tables_unnamed;
