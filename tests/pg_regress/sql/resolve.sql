-- Administrators decide incidents: each kind and each decision that one node can carry out by itself. (A session whose
-- replication role is replica stands for the apply worker.)

\set home :DBNAME
create database regress_resolve;
\c regress_resolve
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
create function pg_temp.resolved(context text, sequence bigint, origin text, root bytea, abandoned bytea, lamport bigint default null)
returns converge_ledger.entries language sql as $$
    select pg_temp.arriving(context, sequence, origin, lamport, '$resolve', convert_to(format(
        '{"size":%s,"rfc6962":"%s","abandoned":"%s","reason":"test"}', sequence - 1, encode(root, 'hex'), encode(abandoned, 'hex')), 'UTF8'));
$$;
-- Rows arrive from a peer, in a session that nobody else is.
create procedure pg_temp.arrive(variadic rows converge_ledger.entries[]) language plpgsql as $$
begin
    set local session_replication_role = replica;
    insert into converge_ledger.entries select r.* from unnest(rows) as r;
    set local session_replication_role = origin;
end $$;
create procedure pg_temp.arrive_all(context text, origin text, first bigint, last bigint, payload bytea default 'x', lamport bigint default 0) language plpgsql as $$
begin
    set local session_replication_role = replica;
    insert into converge_ledger.entries
    select r.* from generate_series(first, last) as i, pg_temp.arriving(context, i, origin, payload => payload, lamport => i + lamport) as r;
    set local session_replication_role = origin;
end $$;
create function pg_temp.open(of_context text) returns bigint language sql as $$
    select max(incident_id) from converge_ledger.incidents where context_id = of_context and resolved_at is null;
$$;
create function pg_temp.state(of_context text) returns table (what text, sequence bigint, origin text, detail text) language sql as $$
    select 'entry', g.sequence, g.origin, case when g.key like '$%' then g.key || ' ' || regexp_replace(convert_from(g.payload, 'UTF8'), '[0-9a-f]{64}', '…', 'g') else g.key end
      from ledger_get(of_context) g
    union all
    select 'unsettled', u.first, null, null from converge_ledger.unsettled u where u.context_id = of_context
    union all
    select 'halted', h.size, null, h.reason from converge_ledger.halted h where h.context_id = of_context
    union all
    select 'incident ' || i.kind, i.sequence, i.origin, coalesce(i.resolution, 'open') from converge_ledger.incidents i where i.context_id = of_context
    union all
    select 'kept as ' || i.kind, e.sequence, e.origin, case when e.payload is null then 'digest' end
      from converge_ledger.incident_entries e join converge_ledger.incidents i using (incident_id) where e.context_id = of_context
    union all
    select 'fault ' || c.kind, c.sequence, null, c.detail
      from converge_ledger.contexts x cross join lateral ledger_check(of_context) c where x.context_id = of_context and c.kind <> 'time'
     order by 1, 2, 3, 4;
$$;
-- The roots that proofs are made of are those of the entries, computed anew.
create function pg_temp.is_sound(context text) returns boolean language plpgsql as $$
declare
    before record;
    after record;
begin
    select * into before from ledger_head(context);
    perform ledger_rebuild(context);
    select * into after from ledger_head(context);
    return before is not distinct from after and not exists (select from ledger_check(context) where kind <> 'time');
end $$;
set client_min_messages = error;
select ledger_set_node('home') as node;

-- A fork of what this node owns: its own history stays, which the log records.
select count(ledger_append('mine', 'facts', 'x')) from generate_series(1, 4);
call pg_temp.arrive_all('mine', 'far', 3, 6);
select kind, context_id, sequence, last_sequence, source, regexp_replace(what_happened, '\d+', 'N') as what_happened, resolve_with, waits_for
  from ledger_open_incidents where context_id = 'mine';
select regexp_replace(ledger_resolve(pg_temp.open('mine'), 'keep_mine', 'far was split off'), 'incident \d+', 'incident N') as done;
select * from pg_temp.state('mine');
-- What it states is true, and its clock is above what it decides about.
select convert_from(e.payload, 'UTF8')::json ->> 'rfc6962' = encode(ledger_root('mine', 4, 'rfc6962'), 'hex') as root,
       convert_from(e.payload, 'UTF8')::json ->> 'abandoned' = encode(i.leaf_hash, 'hex') as abandoned, e.lamport
  from ledger_get('mine', 4) e, converge_ledger.incidents i where i.context_id = 'mine';
-- What comes again is recognised, what comes in addition kept with it; nothing is opened again.
call pg_temp.arrive_all('mine', 'far', 3, 8);
call pg_temp.arrive_all('mine', 'far', 3, 8);
select what, sequence, origin from pg_temp.state('mine') where what <> 'entry';
select ledger_append('mine', 'facts', 'x') as sequence, pg_temp.is_sound('mine');
select count(*) from ledger_open_incidents;

-- A fork of what another node owns: nothing is appended here.
call pg_temp.arrive_all('theirs', 'far', 1, 4);
call pg_temp.arrive_all('theirs', 'other', 3, 6);
select regexp_replace(ledger_resolve(pg_temp.open('theirs'), 'keep_mine', 'other was split off'), 'incident \d+', 'incident N') as done;
call pg_temp.arrive_all('theirs', 'other', 5, 7);
call pg_temp.arrive_all('theirs', 'far', 5, 5);
select * from pg_temp.state('theirs');
-- The origin that was decided against takes over what stayed, and goes on: in whatever order that comes.
call pg_temp.arrive(pg_temp.arriving('theirs', 7, 'other', lamport => 11), pg_temp.arriving('theirs', 8, 'other', lamport => 12));
call pg_temp.arrive(pg_temp.takeover('theirs', 6, 'other', ledger_root('theirs', 5, 'rfc6962'), 10));
select * from pg_temp.state('theirs');
select pg_temp.is_sound('theirs');

-- The other history is kept: this node's own entries are taken out, and nothing of them is lost.
select count(ledger_append('given up', 'facts', 'x')) from generate_series(1, 600);
create temp table former as select e.* from ledger_get('given up') e;
call pg_temp.arrive(pg_temp.takeover('given up', 501, 'far', ledger_root('given up', 500, 'rfc6962')));
call pg_temp.arrive_all('given up', 'far', 502, 520);
select regexp_replace(ledger_resolve(pg_temp.open('given up'), 'keep_theirs', 'home was split off'), 'incident \d+', 'incident N') as done;
select what, min(sequence), max(sequence), origin, count(*), min(detail) from pg_temp.state('given up') group by what, origin order by 1, 2;
select pg_temp.is_sound('given up'), size, owner from ledger_head('given up');
select count(*) from former f where not exists (select from ledger_get('given up') e where e = f)
   and not exists (select from converge_ledger.incidents i where i.leaf_hash = f.leaf_hash and i.payload = f.payload)
   and not exists (select from converge_ledger.incident_entries i where i.leaf_hash = f.leaf_hash and i.payload = f.payload);
-- They are recognised when they come back, and this node owns nothing any more.
begin;
set local session_replication_role = replica;
insert into converge_ledger.entries select * from former where sequence > 498;
commit;
select count(*) from ledger_open_incidents;
\set VERBOSITY sqlstate
select ledger_append('given up', 'facts', 'x');
\set VERBOSITY default
call pg_temp.arrive_all('given up', 'far', 521, 600);
select pg_temp.is_sound('given up'), size, owner from ledger_head('given up');

-- One origin, two histories, of another node. Which one it goes on with, its entries do not say before it has decided itself.
call pg_temp.arrive_all('set back', 'far', 1, 6);
call pg_temp.arrive_all('set back', 'far', 4, 5, 'again', 10);
select regexp_replace(ledger_resolve(pg_temp.open('set back'), 'keep_mine', 'a mistake'), 'incident \d+', 'incident N') as done;
call pg_temp.arrive_all('set back', 'far', 7, 7, 'again', 10);
select * from pg_temp.state('set back') where sequence > 3;
-- It states what it follows: from there on it goes on.
call pg_temp.arrive_all('set back', 'far', 8, 8, 'x', 30);
call pg_temp.arrive(pg_temp.resolved('set back', 7, 'far', ledger_root('set back', 6, 'rfc6962'), pg_temp.leaf(pg_temp.arriving('set back', 4, 'far', 14, payload => 'again')), 30));
call pg_temp.arrive_all('set back', 'far', 9, 9, 'x', 30);
select * from pg_temp.state('set back') where sequence > 3;
select pg_temp.is_sound('set back');
-- But not what states another history.
call pg_temp.arrive_all('untrue', 'far', 1, 2);
call pg_temp.arrive(pg_temp.resolved('untrue', 3, 'far', sha256('another history'), sha256('x')));
select * from pg_temp.state('untrue') where sequence > 2;
-- The same with the other history.
call pg_temp.arrive_all('set back 2', 'far', 1, 6);
call pg_temp.arrive_all('set back 2', 'far', 4, 5, 'again', 10);
select regexp_replace(ledger_resolve(pg_temp.open('set back 2'), 'keep_theirs', 'a mistake'), 'incident \d+', 'incident N') as done;
select * from pg_temp.state('set back 2') where sequence > 3;
call pg_temp.arrive_all('set back 2', 'far', 6, 6, 'x');
call pg_temp.arrive_all('set back 2', 'far', 7, 7, 'x');
call pg_temp.arrive(pg_temp.resolved('set back 2', 6, 'far', ledger_root('set back 2', 5, 'rfc6962'), pg_temp.leaf(pg_temp.arriving('set back 2', 4, 'far')), 30));
call pg_temp.arrive_all('set back 2', 'far', 7, 7, 'y', 30);
select * from pg_temp.state('set back 2') where sequence > 3;
select pg_temp.is_sound('set back 2');

-- Cannot be decided so.
call pg_temp.arrive_all('refused', 'far', 1, 4);
call pg_temp.arrive_all('refused', 'other', 3, 4);
select ledger_resolve(pg_temp.open('refused'), 'keep_theirs', 'why');
call pg_temp.arrive_all('refused 2', 'far', 1, 2);
call pg_temp.arrive(pg_temp.takeover('refused 2', 3, 'other', sha256('another history')));
select ledger_resolve(pg_temp.open('refused 2'), 'keep_theirs', 'why');
select * from pg_temp.state('refused');
-- Entries of this node's own that peers have. (Rows of incidents as the reconciler and subscriptions leave them.)
\getenv tests PG_ABS_SRCDIR
\set past :tests '/common/past.sql'
\i :past
create procedure pg_temp.incident(kind text, source text, variadic rows converge_ledger.entries[]) language plpgsql as $$
declare
    number bigint;
    first converge_ledger.entries := rows[1];
begin
    perform pg_temp.guards(false);
    insert into converge_ledger.incidents (kind, source, sequence, lamport, appended_at, format, context_id, origin, key, id, payload, metadata, salt,
                                           leaf_hash, content_digest, evidence)
    select kind, source, first.*, '{"reason": "as the test has it"}' returning incident_id into number;
    insert into converge_ledger.incident_entries select number, r.*, source, now() from unnest(rows[2:]) as r;
    perform pg_temp.guards(true);
end $$;
create procedure pg_temp.halt(of_context text, size bigint) language sql as $$
    select pg_temp.guards(false);
    insert into converge_ledger.halted (incident_id, since, size, context_id) select pg_temp.open(of_context), now(), size, of_context;
    select pg_temp.guards(true);
$$;
call pg_temp.arrive_all('lost', 'home', 1, 3);
call pg_temp.incident('rollback', 'b', pg_temp.arriving('lost', 4, 'home'), pg_temp.arriving('lost', 5, 'home'));
call pg_temp.halt('lost', 6);
-- Nothing is appended, by no way; other contexts go on.
select ledger_append('lost', 'facts', 'x');
\set VERBOSITY sqlstate
select ledger_append_batch('lost', 'facts', array['x'::bytea]);
select ledger_append_rows('lost', array['facts'], array['x'::bytea]);
insert into converge_ledger.entries (context_id, payload) values ('lost', 'x');
copy converge_ledger.entries (context_id, payload) from stdin;
lost	x
\.
begin;
select ledger_append('not lost', 'facts', 'x');
savepoint s;
select ledger_append('lost', 'facts', 'x');
rollback to s;
select ledger_append('not lost', 'facts', 'x');
commit;
\set VERBOSITY default
select kind, sequence, last_sequence, what_happened, resolve_with = format('SELECT ledger_resolve(%1$s, ''keep_mine'', ''...'') or SELECT ledger_resolve(%1$s, ''keep_theirs'', ''...'')', incident_id) as resolve_with, waits_for
  from ledger_open_incidents where context_id = 'lost';
select regexp_replace(ledger_resolve(pg_temp.open('lost'), 'keep_theirs', 'the disk was replaced'), 'incident \d+', 'incident N') as done;
select * from pg_temp.state('lost');
select what_happened, resolve_with = format('SELECT ledger_resolve(%s, ''keep_mine'', ''...'')', incident_id) as resolve_with, waits_for from ledger_open_incidents where context_id = 'lost';
select ledger_append('lost', 'facts', 'x');
-- The last one comes, and with the next decision it is seen that all is back.
call pg_temp.arrive_all('lost', 'home', 6, 6);
select regexp_replace(ledger_resolve(pg_temp.open('lost'), 'keep_theirs', 'the disk was replaced'), 'incident \d+', 'incident N') as done;
select ledger_append('lost', 'facts', 'x') as sequence, pg_temp.is_sound('lost');
select * from pg_temp.state('lost') where sequence > 3;

-- This node goes on without them.
call pg_temp.arrive_all('lost 2', 'home', 1, 3);
call pg_temp.incident('rollback', 'b', pg_temp.arriving('lost 2', 4, 'home'));
call pg_temp.halt('lost 2', 4);
select regexp_replace(ledger_resolve(pg_temp.open('lost 2'), 'keep_mine', 'they were a test'), 'incident \d+', 'incident N') as done;
select * from pg_temp.state('lost 2') where sequence > 3;
select ledger_append('lost 2', 'facts', 'x') as sequence, pg_temp.is_sound('lost 2');
call pg_temp.arrive_all('lost 2', 'home', 4, 4);
select count(*) from ledger_open_incidents where context_id = 'lost 2';

-- It went on before anybody saw that it was set back: a fork of its own, which is decided first.
call pg_temp.arrive_all('went on', 'home', 1, 3);
call pg_temp.arrive_all('went on', 'home', 4, 5, 'again', 10);
call pg_temp.arrive(pg_temp.arriving('went on', 4, 'home'));
call pg_temp.incident('rollback', 'b', pg_temp.arriving('went on', 6, 'home'), pg_temp.arriving('went on', 7, 'home'));
select ledger_resolve(pg_temp.open('went on'), 'keep_theirs', 'why');
select pg_temp.past($past$update converge_ledger.incidents set evidence = evidence || '{"size": 7}' where context_id = 'went on' and kind = 'fork';
update converge_ledger.incidents set resolved_at = now(), resolution = 'set aside by the test' where context_id = 'went on' and kind = 'rollback'$past$) \g /dev/null
select regexp_replace(ledger_resolve(pg_temp.open('went on'), 'keep_theirs', 'set back'), 'incident \d+', 'incident N') as done;
select * from pg_temp.state('went on') where sequence > 3;
select what_happened, waits_for from ledger_open_incidents where context_id = 'went on';
\set VERBOSITY sqlstate
select ledger_append('went on', 'facts', 'x');
\set VERBOSITY default
-- If nobody brings it, this node goes on with what it has.
select regexp_replace(ledger_resolve(pg_temp.open('went on'), 'keep_mine', 'nobody has the rest'), 'incident \d+', 'incident N') as done;
select * from pg_temp.state('went on') where sequence > 3;
select ledger_append('went on', 'facts', 'x') as sequence, pg_temp.is_sound('went on');
-- Where the rest is at hand, it is put back as well, and the decision is recorded.
call pg_temp.arrive_all('went on 2', 'home', 1, 3);
call pg_temp.arrive_all('went on 2', 'home', 4, 6, 'again', 10);
call pg_temp.arrive_all('went on 2', 'home', 4, 5);
call pg_temp.incident('rollback', 'b', pg_temp.arriving('went on 2', 6, 'home'), pg_temp.arriving('went on 2', 7, 'home'));
select regexp_replace(ledger_resolve(min(incident_id), 'keep_theirs', 'set back'), 'incident \d+', 'incident N') as done from ledger_open_incidents where context_id = 'went on 2';
select * from pg_temp.state('went on 2') where sequence > 3;
select ledger_append('went on 2', 'facts', 'x') as sequence, pg_temp.is_sound('went on 2');

-- Where nobody has told how much there is, a peer is compared first.
call pg_temp.arrive_all('went on 3', 'home', 1, 3);
call pg_temp.arrive_all('went on 3', 'home', 4, 6, 'again', 10);
call pg_temp.arrive_all('went on 3', 'home', 4, 5);
select regexp_replace(ledger_resolve(pg_temp.open('went on 3'), 'keep_theirs', 'set back'), 'incident \d+', 'incident N') as done;
\set VERBOSITY sqlstate
select ledger_append('went on 3', 'facts', 'x');
\set VERBOSITY default
select regexp_replace(ledger_resolve(pg_temp.open('went on 3'), 'keep_theirs', 'there is no more'), 'incident \d+', 'incident N') as done;
select * from pg_temp.state('went on 3') where sequence > 3;
select ledger_append('went on 3', 'facts', 'x') as sequence, pg_temp.is_sound('went on 3');

-- What a subscription may not deliver.
call pg_temp.incident('unpinned', 'b', pg_temp.arriving('unpinned', 1, 'c'), pg_temp.arriving('unpinned', 2, 'c'), pg_temp.arriving('unpinned', 4, 'c'));
select what_happened, waits_for from ledger_open_incidents where context_id = 'unpinned';
select regexp_replace(ledger_resolve(pg_temp.open('unpinned'), 'keep_theirs', 'the pin was too narrow'), 'incident \d+', 'incident N') as done;
select * from pg_temp.state('unpinned');
call pg_temp.incident('unpinned', 'b', pg_temp.arriving('unpinned 2', 1, 'c'));
select regexp_replace(ledger_resolve(pg_temp.open('unpinned 2'), 'keep_mine', 'not wanted'), 'incident \d+', 'incident N') as done;
call pg_temp.incident('unpinned', 'b', pg_temp.arriving('unpinned 3', 1, 'home'));
select ledger_resolve(pg_temp.open('unpinned 3'), 'keep_theirs', 'why');

-- Damage of this node waits for a peer, or is accepted.
call pg_temp.incident('corruption', '', pg_temp.arriving('corrupt', 2, 'far'));
select what_happened, waits_for from ledger_open_incidents where context_id = 'corrupt';
select regexp_replace(ledger_resolve(pg_temp.open('corrupt'), 'keep_theirs', 'b is right'), 'incident \d+', 'incident N') as done;
select resolve_with = format('SELECT ledger_resolve(%s, ''keep_mine'', ''...'')', incident_id) as resolve_with, waits_for from ledger_open_incidents where context_id = 'corrupt';
select evidence from converge_ledger.incidents where context_id = 'corrupt';
select regexp_replace(ledger_resolve(pg_temp.open('corrupt'), 'keep_mine', 'nobody has it any more'), 'incident \d+', 'incident N') as done;

-- All others can only be closed.
do $$
declare
    kind text;
begin
    foreach kind in array '{damaged,discontinuity,duplicate id,change,damaged peer,contradiction}'::text[] loop
        call pg_temp.incident(kind, 'b', pg_temp.arriving('a ' || kind, 2, 'far'));
    end loop;
end $$;
select kind, what_happened, waits_for from ledger_open_incidents where context_id like 'a %' order by kind;
do $$
declare
    open constant bigint[] := array(select incident_id from ledger_open_incidents where context_id like 'a %' order by kind);
    incident bigint;
    message text;
    hint text;
begin
    foreach incident in array open loop
        begin
            perform ledger_resolve(incident, 'keep_theirs', 'why');
        exception when feature_not_supported then
            get stacked diagnostics message = message_text, hint = pg_exception_hint;
            message := message || ' / ' || hint;
        end;
        perform pg_temp.past(format('update converge_ledger.incidents set evidence = %L where incident_id = %s',
            jsonb_build_object('answer', message, 'reason', ''), incident));
        perform ledger_resolve(incident, 'keep_mine', 'seen');
    end loop;
end $$;
select kind, resolution, evidence ->> 'answer' as answer from converge_ledger.incidents where context_id like 'a %' order by kind;

-- All incidents of kind rollback of one peer, by one call. Other kinds and other peers are not touched.
call pg_temp.incident('unpinned', 'liar', pg_temp.arriving('of liar 1', 1, 'c'));
call pg_temp.incident('rollback', 'liar', pg_temp.arriving('of liar 2', 1, 'c'));
call pg_temp.incident('rollback', 'liar', pg_temp.arriving('of liar 3', 1, 'c'));
call pg_temp.incident('rollback', 'liar', pg_temp.arriving('of liar 4', 1, 'c'));
call pg_temp.incident('rollback', 'honest', pg_temp.arriving('of honest', 1, 'c'));
-- What cannot be decided stays open, and is reported.
begin;
select i.context_id, r.resolved, r.result
  from ledger_resolve_peer('liar', 'keep_theirs', 'it is right') as r join converge_ledger.incidents as i using (incident_id)
 order by r.incident_id;
select context_id from ledger_open_incidents where context_id like 'of %' order by context_id;
rollback;
-- In parts, each of which can be committed.
select i.context_id, r.resolved, r.result
  from ledger_resolve_peer('liar', 'keep_mine', 'it lies', 2) as r join converge_ledger.incidents as i using (incident_id)
 order by r.incident_id;
select i.context_id, r.resolved, r.result
  from ledger_resolve_peer('liar', 'keep_mine', 'it lies', max_incidents => 2) as r join converge_ledger.incidents as i using (incident_id)
 order by r.incident_id;
select context_id from ledger_open_incidents where context_id like 'of %' order by context_id;
\set VERBOSITY default
select * from ledger_resolve_peer('liar', 'keep_mine', 'again');
select * from ledger_resolve_peer('honest', 'keep_mine', 'why', 0);
\set VERBOSITY sqlstate
select * from ledger_resolve_peer('honest', 'keep_both', 'why');
select * from ledger_resolve_peer('honest', 'keep_mine', '');
select * from ledger_resolve_peer(null, 'keep_mine', 'why');
select * from ledger_resolve_peer('honest', null, 'why');
select * from ledger_resolve_peer('honest', 'keep_mine', null);
begin isolation level repeatable read;
select * from ledger_resolve_peer('honest', 'keep_mine', 'why');
rollback;
begin read only;
select * from ledger_resolve_peer('honest', 'keep_mine', 'why');
rollback;
select count(*) from ledger_resolve_peer('honest', 'keep_mine', 'seen');
\set VERBOSITY default

-- Refused.
select ledger_resolve(0, 'keep_mine', 'why');
\echo :LAST_ERROR_SQLSTATE
select ledger_resolve(pg_temp.open('refused'), 'keep_both', 'why');
\echo :LAST_ERROR_SQLSTATE
select ledger_resolve(pg_temp.open('refused'), 'keep_mine', '');
\echo :LAST_ERROR_SQLSTATE
select ledger_resolve(pg_temp.open('refused'), 'keep_mine', null);
\echo :LAST_ERROR_SQLSTATE
select ledger_resolve(null, 'keep_mine', 'why');
\echo :LAST_ERROR_SQLSTATE
begin isolation level repeatable read;
select ledger_resolve(pg_temp.open('refused'), 'keep_mine', 'why');
\echo :LAST_ERROR_SQLSTATE
rollback;
begin read only;
select ledger_resolve(pg_temp.open('refused'), 'keep_mine', 'why');
\echo :LAST_ERROR_SQLSTATE
rollback;
create role regress_resolver;
grant usage on schema converge_ledger to regress_resolver;
grant execute on function ledger_resolve, ledger_resolve_peer to regress_resolver;
set role regress_resolver;
select ledger_resolve(1, 'keep_mine', 'why');
\echo :LAST_ERROR_SQLSTATE
select * from ledger_resolve_peer('liar', 'keep_mine', 'why');
\echo :LAST_ERROR_SQLSTATE
select count(*) from ledger_open_incidents;
\echo :LAST_ERROR_SQLSTATE
reset role;
-- A grant of the view is all that monitoring needs.
grant select on ledger_open_incidents to regress_resolver;
set role regress_resolver;
select count(*) > 0 as sees from ledger_open_incidents;
reset role;
drop owned by regress_resolver;
drop role regress_resolver;
-- Undone with its transaction, and then it can be decided otherwise.
begin;
select count(ledger_resolve(pg_temp.open('refused'), 'keep_mine', 'why'));
rollback;
begin;
savepoint s;
select count(ledger_resolve(pg_temp.open('refused'), 'keep_mine', 'why'));
rollback to s;
select count(ledger_resolve(pg_temp.open('refused'), 'keep_mine', 'why'));
commit;
do $$
begin
    perform ledger_resolve((select incident_id from converge_ledger.incidents where context_id = 'refused'), 'keep_mine', 'why');
exception when others then
    raise exception using errcode = sqlstate, message = regexp_replace(sqlerrm, '\d+', 'N');
end $$;
\echo :LAST_ERROR_SQLSTATE
-- A dump holds what is halted and why.
select count(*) > 0 as dumped from pg_extension x, unnest(x.extconfig) c where x.extname = 'converge_ledger' and c = 'converge_ledger.halted'::regclass;
select context_id, kind, detail from ledger_check() where kind <> 'time';
\c :home
drop database regress_resolve;
