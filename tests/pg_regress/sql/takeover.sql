-- A node takes over a context whose owner is gone: the entry, its errors, and what holds afterwards.

\getenv source PG_ABS_SRCDIR
\set oracle :source '/oracle/format_1.sql'
\set ECHO none
\i :oracle
\set ECHO all
create function pg_temp.arriving(context text, sequence bigint, origin text default 'lost "node" \ 1', lamport bigint default null)
returns converge_ledger.entries language plpgsql as $$
declare
    e converge_ledger.entries := row(sequence, coalesce(lamport, sequence), '2026-01-02 03:04:05+00', 1, context, origin,
        'facts', 'id ' || sequence, 'x', '{}', '\x000102030405060708090a0b0c0d0e0f', null, null);
begin
    e.leaf_hash := pg_temp.leaf(e);
    return e;
end $$;
begin;
select ledger_adopt_node('home') as name;
insert into converge_ledger.entries select (pg_temp.arriving('takeover, orphan', i)).* from generate_series(1, 3) as i;
select size, lamport, owner from ledger_head('takeover, orphan');
select ledger_takeover('takeover, orphan', 'burnt down on "Monday", \ é日🔥') as sequence;
-- Byte for byte what docs/format.md says: the root is that of the three entries before it.
select sequence, lamport, origin, key, id, metadata, octet_length(salt) as salt, convert_from(payload, 'UTF8') as payload
  from ledger_get('takeover, orphan', 3);
select payload = convert_to(format('{"size":3,"rfc6962":"%s","previous_owner":"lost \"node\" \\ 1","reason":"burnt down on \"Monday\", \\ é日🔥"}',
           encode(ledger_root('takeover, orphan', 3, 'rfc6962'), 'hex')), 'UTF8') as as_written,
       leaf_hash = pg_temp.leaf(e) as leaf
  from ledger_get('takeover, orphan', 3) as e;
-- From here on this node owns it, and everything can be proved and is sound.
select size, lamport, owner from ledger_head('takeover, orphan');
select ledger_append('takeover, orphan', 'facts', 'y');
select first_sequence, last_sequence from ledger_append_batch('takeover, orphan', 'facts', '{a,b}');
select bool_and(ledger_verify_proof('takeover, orphan', ledger_proof('takeover, orphan', sequence, size, tree))) as proved
  from generate_series(1, 7) as sequence, generate_series(7, 7) as size, unnest('{bitcoin,rfc6962}'::text[]) as tree;
select ledger_verify_consistency(ledger_consistency('takeover, orphan', 3), 3, ledger_root('takeover, orphan', 3, 'rfc6962'), 7, ledger_root('takeover, orphan', 7, 'rfc6962')) as continues;
select * from ledger_check('takeover, orphan');
-- A retry of what the former owner appended is one still, and its entries do not continue the context.
select ledger_append('takeover, orphan', 'facts', 'x', id => 'id 2');
savepoint s;
\set VERBOSITY default
insert into converge_ledger.entries select (pg_temp.arriving('takeover, orphan', 8)).*;
\echo :LAST_ERROR_SQLSTATE
rollback to s;

-- Refused.
select ledger_takeover('takeover, orphan', 'again');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_takeover('never begun', 'why');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_takeover('takeover, orphan', '');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_takeover('takeover, orphan', repeat('é', 512) || 'x');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_takeover('takeover, orphan', E'two\nlines');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_takeover('takeover, orphan', E'deleted\x7f');
rollback to s;
select ledger_takeover('', 'why');
rollback to s;
select ledger_takeover(null, 'why');
rollback to s;
select ledger_takeover('takeover, orphan', null);
\echo :LAST_ERROR_SQLSTATE
rollback to s;
rollback;

-- While entries are missing. What fills the gap makes it possible.
set session_replication_role = replica;
insert into converge_ledger.entries select (pg_temp.arriving('takeover, gaps', i)).* from unnest('{1,2,4}'::bigint[]) as i;
reset session_replication_role;
begin;
select ledger_adopt_node('home') as name;
select ledger_takeover('takeover, gaps', 'why');
\echo :LAST_ERROR_SQLSTATE
rollback;
-- So it is when this session knows the context from before.
select size from ledger_head('takeover, gaps');
begin;
select ledger_adopt_node('home') as name;
select ledger_takeover('takeover, gaps', 'why');
rollback;
set session_replication_role = replica;
insert into converge_ledger.entries select (pg_temp.arriving('takeover, gaps', 3)).*;
reset session_replication_role;
begin;
select ledger_adopt_node('home') as name;
select ledger_takeover('takeover, gaps', 'why');
select * from ledger_check('takeover, gaps');
rollback;

-- The longest reason; the clock goes on from the greatest time; a chain of take-overs.
begin;
select ledger_adopt_node('second') as name;
insert into converge_ledger.entries select (pg_temp.arriving('takeover, chain', i, 'first', i * 1000)).* from generate_series(1, 2) as i;
select ledger_takeover('takeover, chain', repeat('"', 1024));
select ledger_append('takeover, chain', 'facts', 'by second');
select ledger_adopt_node('third') as name;
savepoint s;
\set VERBOSITY sqlstate
select ledger_append('takeover, chain', 'facts', 'x');
rollback to s;
select ledger_takeover('takeover, chain', 'third time');
select ledger_adopt_node('first') as name;
select ledger_takeover('takeover, chain', 'back again');
select sequence, lamport, origin, key, payload ->> 'size' as size, payload ->> 'previous_owner' as previous, octet_length(payload ->> 'reason') as reason
  from (select sequence, lamport, origin, key, convert_from(payload, 'UTF8')::json as payload from ledger_get('takeover, chain', key => '$takeover')) as e;
select bool_and((payload ->> 'rfc6962') = encode(ledger_root('takeover, chain', sequence - 1, 'rfc6962'), 'hex')) as true_roots
  from (select sequence, convert_from(payload, 'UTF8')::json as payload from ledger_get('takeover, chain', key => '$takeover')) as e;
select * from ledger_check('takeover, chain');
rollback;

\getenv tests PG_ABS_SRCDIR
\set past :tests '/common/past.sql'
\i :past
-- Its Lamport time is above what was kept aside as well, unless that is absurd.
begin;
select ledger_adopt_node('home') as name;
insert into converge_ledger.entries select (pg_temp.arriving('takeover, seen', i)).* from generate_series(1, 2) as i;
select pg_temp.past($past$insert into converge_ledger.incidents (kind, context_id, sequence, lamport)
values ('fork', 'takeover, seen', 3, 700), ('damaged', 'takeover, seen', 3, -5), ('damaged', 'takeover, seen', 4, (1::bigint << 40) + 3), ('fork', 'takeover, not seen', 3, 900), ('damaged', 'takeover, seen', 1, null)$past$) \g /dev/null
savepoint s;
select ledger_takeover('takeover, seen', 'why');
select lamport from ledger_head('takeover, seen');
rollback to s;
select pg_temp.past($past$insert into converge_ledger.incident_entries (incident_id, sequence, lamport, context_id, source, arrived_at)
select incident_id, 5, lamport, context_id, '', now()
  from (values ('takeover, seen', (1::bigint << 40) + 2), ('takeover, seen', 800), ('takeover, not seen', 1000)) as v (context_id, lamport), (select max(incident_id) from converge_ledger.incidents) as i (incident_id)$past$) \g /dev/null
select ledger_takeover('takeover, seen', 'why');
select lamport = (1::bigint << 40) + 3 as most from ledger_head('takeover, seen');
select * from ledger_check('takeover, seen');
rollback;

-- A time that is exhausted, and a block that becomes complete on the way.
begin;
select ledger_adopt_node('home') as name;
insert into converge_ledger.entries select (pg_temp.arriving('takeover, exhausted', 1, lamport => (1::bigint << 53) - 1)).*;
savepoint s;
select ledger_takeover('takeover, exhausted', 'why');
rollback to s;
insert into converge_ledger.entries select (pg_temp.arriving('takeover, blocks', i)).* from generate_series(1, 512) as i;
select ledger_takeover('takeover, blocks', 'why');
select level, count(*) from converge_ledger.subtrees where context_id = 'takeover, blocks' group by level;
select ledger_root('takeover, blocks', 512, 'rfc6962') = decode(convert_from(payload, 'UTF8')::json ->> 'rfc6962', 'hex') as root from ledger_get('takeover, blocks', 512);
select * from ledger_check('takeover, blocks');
rollback;

-- Undone with its savepoint; made anew, and beside other appends of the transaction.
begin;
select ledger_adopt_node('home') as name;
insert into converge_ledger.entries select (pg_temp.arriving('takeover, undone', i)).* from generate_series(1, 2) as i;
savepoint s;
select ledger_takeover('takeover, undone', 'in vain');
select ledger_append('takeover, undone', 'facts', 'x');
rollback to s;
\set VERBOSITY default
select ledger_append('takeover, undone', 'facts', 'x');
rollback to s;
select ledger_append('takeover, other', 'facts', 'x'), ledger_takeover('takeover, undone', 'at last'), ledger_append('takeover, undone', 'facts', 'z');
select sequence, origin, key from ledger_get('takeover, undone');
select * from ledger_check('takeover, undone');
rollback;

-- Triggers of a user see it, and cannot make it something else.
begin;
select ledger_adopt_node('home') as name;
insert into converge_ledger.entries select (pg_temp.arriving('takeover, triggered', i)).* from generate_series(1, 2) as i;
insert into converge_ledger.entries select (pg_temp.arriving('takeover, triggered too', i)).* from generate_series(1, 2) as i;
create function pg_temp.meddling() returns trigger language plpgsql as $$
begin
    raise notice 'saw %', new.key;
    case current_setting('regress.meddling')
        when 'key' then new.key := 'facts';
        when 'control' then new.key := '$erase';
        when 'context' then new.context_id := 'takeover, triggered too';
        when 'payload' then new.payload := convert_to(replace(convert_from(new.payload, 'UTF8'), '"size":2', '"size":1'), 'UTF8');
        when 'root' then new.payload := convert_to(regexp_replace(convert_from(new.payload, 'UTF8'), '[0-9a-f]{64}', repeat('0', 64)), 'UTF8');
        when 'swallow' then return null;
        else
    end case;
    return new;
end $$;
create trigger meddling before insert on converge_ledger.entries for each row execute function pg_temp.meddling();
savepoint s;
set local regress.meddling = 'key';
select ledger_takeover('takeover, triggered', 'why');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
set local regress.meddling = 'control';
select ledger_takeover('takeover, triggered', 'why');
rollback to s;
set local regress.meddling = 'payload';
select ledger_takeover('takeover, triggered', 'why');
rollback to s;
set local regress.meddling = 'context';
select ledger_takeover('takeover, triggered', 'why');
rollback to s;
set local regress.meddling = 'root';
select ledger_takeover('takeover, triggered', 'why');
rollback to s;
set local regress.meddling = 'swallow';
select ledger_takeover('takeover, triggered', 'why');
rollback to s;
set local regress.meddling = '';
select ledger_takeover('takeover, triggered', 'why');
select * from ledger_check('takeover, triggered');
rollback;

-- Only the owner of the entries, and not where nothing can be written.
create role regress_appender;
select ledger_grant('regress_appender', 'append');
set role regress_appender;
select ledger_takeover('takeover, orphan', 'why');
\echo :LAST_ERROR_SQLSTATE
reset role;
grant execute on function ledger_takeover to regress_appender;
set role regress_appender;
select ledger_takeover('takeover, orphan', 'why');
\echo :LAST_ERROR_SQLSTATE
reset role;
drop owned by regress_appender;
drop role regress_appender;
begin read only;
select ledger_takeover('takeover, orphan', 'why');
\echo :LAST_ERROR_SQLSTATE
rollback;
