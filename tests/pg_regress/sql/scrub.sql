-- The scrub hashes stored entries anew, slice by slice. What a superuser changes behind the ledger's back becomes an incident of
-- kind corruption, once; what is found sound again resolves it. It changes no entry.

-- A database of its own: the scrub reads all contexts that there are.
\set home :DBNAME
create database regress_scrub;
\c regress_scrub
create extension converge_ledger;
set client_min_messages = error;
\getenv tests PG_ABS_SRCDIR
\set past :tests '/common/past.sql'
\i :past
begin;
insert into converge_ledger.entries (context_id, key, payload) select 'scrub a', 'facts', int4send(i) from generate_series(1, 5000) as i;
insert into converge_ledger.entries (context_id, key, payload) select 'scrub b', 'facts', int4send(i) from generate_series(1, 10) as i;
insert into converge_ledger.entries (context_id, key, payload) select 'scrub c', 'facts', int4send(i) from generate_series(1, 300) as i;

-- Format 1 in SQL, as a forger would write it: docs/format.md.
create function pg_temp.str(value text) returns bytea language sql
    return int4send(octet_length(value)) || convert_to(value, 'UTF8');
create function pg_temp.leaf(e converge_ledger.entries) returns bytea language sql return sha256(
    '\x0001' || pg_temp.str(e.context_id) || int8send(e.sequence) || int8send(e.lamport) || pg_temp.str(e.origin)
    || int8send((extract(epoch from e.appended_at) * 1000000)::bigint) || pg_temp.str(e.key) || pg_temp.str(e.id)
    || sha256('\x02' || e.salt || int8send(octet_length(e.payload)) || e.payload || convert_to(e.metadata::text, 'UTF8')));
create view pg_temp.open as
    select context_id, sequence, evidence->'last' as last, evidence->'level' as level, payload is not null as copied,
           regexp_replace(evidence->>'reason', '[0-9a-f]{64}', '…', 'g') as reason
      from converge_ledger.incidents where kind = 'corruption' and resolved_at is null
     order by context_id, sequence, incident_id;
create view pg_temp.resolved as
    select context_id, sequence, resolution
      from converge_ledger.incidents where kind = 'corruption' and resolved_at is not null
     order by context_id, sequence, incident_id;

-- Nothing is wrong.
select ledger_scrub();
select * from pg_temp.open;
select context_id, known, faults from converge_ledger.scrubbed
 where context_id like 'scrub%' order by context_id;
select worker, state, failures, entries_scrubbed, scrub_began_at is null as idle, last_scrub_ended_at is not null as ended
  from ledger_status where worker = 'scrub';

-- In slices of whole blocks; a slice ends with the last context.
select ledger_scrub(0);
select ledger_scrub(100);
select context_id, sequence, entries, faults, context_faults from converge_ledger.scrub_pass;
select state, entries_scrubbed, entries_total >= 5310 as total, scrub_began_at is not null as began from ledger_status where worker = 'scrub';
select ledger_scrub(257);
select context_id, sequence, entries from converge_ledger.scrub_pass;
select array_agg(ledger_scrub(1000)) from generate_series(1, 6);
savepoint s;
select ledger_scrub(-1);
\echo :LAST_ERROR_SQLSTATE
rollback to s;

-- Rows: an edited payload, an edited leaf, another key, a leaf that is none; each once, with the row as it stands.
savepoint s;
select pg_temp.past($$
    update converge_ledger.entries set payload = 'evil' where (context_id, sequence) in (('scrub a', 300), ('scrub b', 10), ('scrub c', 1));
    update converge_ledger.entries set leaf_hash = sha256('evil') where (context_id, sequence) = ('scrub a', 2000);
    update converge_ledger.entries set key = 'other' where (context_id, sequence) = ('scrub a', 4999);
    update converge_ledger.entries set leaf_hash = '\x00' where (context_id, sequence) = ('scrub b', 3)$$);
select ledger_scrub();
select * from pg_temp.open;
select sequence, convert_from(payload, 'UTF8') from converge_ledger.incidents where context_id = 'scrub b' and sequence = 10;
select ledger_scrub();
select count(*) from pg_temp.open;
select context_id, known, faults from converge_ledger.scrubbed where context_id like 'scrub%' order by context_id;
select failures from ledger_status where worker = 'scrub';
select last_entries, last_faults from converge_ledger.scrub_pass;
-- What was changed is put back, and found sound.
select pg_temp.past($$
    update converge_ledger.entries set payload = int4send(300) where (context_id, sequence) = ('scrub a', 300);
    update converge_ledger.entries set key = 'facts' where (context_id, sequence) = ('scrub a', 4999)$$);
select ledger_scrub();
select context_id, sequence from pg_temp.open;
select * from pg_temp.resolved;
-- One with which an administrator lives stays away until the row changes again.
select pg_temp.past($past$update converge_ledger.incidents set resolved_at = now(), resolution = 'keep_mine: known' where context_id = 'scrub c'$past$) \g /dev/null
select ledger_scrub();
select * from pg_temp.open where context_id = 'scrub c';
select pg_temp.past($$update converge_ledger.entries set payload = 'worse' where (context_id, sequence) = ('scrub c', 1)$$);
select ledger_scrub();
select context_id, sequence from pg_temp.open where context_id = 'scrub c';
rollback to s;

-- Rows that hash to their leaves and still do not follow: time, clock and owner, with the leaf that a forger would write.
savepoint s;
select pg_temp.past($$
    update converge_ledger.entries set lamport = lamport - 2 where (context_id, sequence) = ('scrub b', 4);
    update converge_ledger.entries set origin = 'elsewhere' where (context_id, sequence) = ('scrub b', 6);
    update converge_ledger.entries set appended_at = appended_at - interval '1 hour' where (context_id, sequence) = ('scrub b', 8);
    update converge_ledger.entries e set leaf_hash = pg_temp.leaf(e) where context_id = 'scrub b'$$);
select ledger_scrub();
select context_id, sequence, regexp_replace(reason, '\d+', 'N', 'g') as reason from pg_temp.open;
rollback to s;

-- Missing entries: in the middle, over the edge of a block, at its end, at the end of the context, and a whole context.
savepoint s;
select pg_temp.past($$
    delete from converge_ledger.entries where context_id = 'scrub a' and sequence in (1, 70, 255, 256, 257, 1024, 4999, 5000);
    delete from converge_ledger.entries where context_id = 'scrub b';
    delete from converge_ledger.entries where context_id = 'scrub c' and sequence > 100$$);
select ledger_scrub();
select * from pg_temp.open;
select ledger_scrub();
select count(*) from pg_temp.open;
select context_id, known, faults from converge_ledger.scrubbed where context_id like 'scrub%' order by context_id;
-- In slices they are the same. What was found in a part of a context counts once all of it was read.
select pg_temp.past($past$delete from converge_ledger.incidents$past$) \g /dev/null
select ledger_scrub(300);
select context_id, sequence, faults, context_faults from converge_ledger.scrub_pass;
select array_agg(ledger_scrub(100)) from generate_series(1, 20);
select context_id, sequence, last from pg_temp.open;
select context_id, known, faults from converge_ledger.scrubbed where context_id like 'scrub%' order by context_id;
-- What is as it was is not written again.
create temp table written as select ctid as place, * from converge_ledger.scrubbed;
select ledger_scrub();
select context_id from (select ctid as place, * from converge_ledger.scrubbed except select * from written) as again;
rollback to s;
-- At the end of a context that was never scrubbed, a stored subtree tells.
savepoint s;
select pg_temp.past($past$delete from converge_ledger.scrubbed$past$) \g /dev/null
select pg_temp.past($$delete from converge_ledger.entries where context_id = 'scrub c' and sequence > 100$$);
select ledger_scrub();
select * from pg_temp.open;
rollback to s;

-- Stored subtrees. One that is missing is stored anew; so is one where a witness takes the side of the leaves: the other tree's
-- hash, or the subtree above it.
savepoint s;
create temp table stored as select * from converge_ledger.subtrees;
select pg_temp.past($past$update converge_ledger.subtrees set bitcoin = sha256(bitcoin) where context_id = 'scrub a' and level = 8 and index = 2$past$) \g /dev/null
select pg_temp.past($past$update converge_ledger.subtrees set rfc6962 = '\x00' where context_id = 'scrub a' and level = 8 and index = 18$past$) \g /dev/null
select pg_temp.past($past$update converge_ledger.subtrees set rfc6962 = sha256(rfc6962), bitcoin = sha256(bitcoin) where context_id = 'scrub a' and level = 8 and index = 3$past$) \g /dev/null
select ledger_scrub();
select * from pg_temp.open;
select context_id, level, index from (select * from stored except select * from converge_ledger.subtrees) as lost;
select count(*) from ledger_check();
select pg_temp.past($past$update converge_ledger.subtrees set rfc6962 = sha256(rfc6962) where context_id = 'scrub a' and level = 12$past$) \g /dev/null
select ledger_scrub();
select context_id, level, index from (select * from stored except select * from converge_ledger.subtrees) as lost;
select pg_temp.past($past$delete from converge_ledger.subtrees where context_id = 'scrub a' and (level = 12 or index = 1)$past$) \g /dev/null
select ledger_scrub();
select ledger_scrub();
select context_id, level, index from (select * from stored except select * from converge_ledger.subtrees) as lost;
select * from pg_temp.open;
-- Where nothing tells what is wrong, all stays as it is, and is told.
select pg_temp.past($past$update converge_ledger.subtrees set rfc6962 = sha256(rfc6962), bitcoin = sha256(bitcoin) where context_id = 'scrub a' and level = 12$past$) \g /dev/null
select pg_temp.past($past$update converge_ledger.subtrees set rfc6962 = sha256(rfc6962), bitcoin = sha256(bitcoin) where context_id = 'scrub c'$past$) \g /dev/null
create temp table evidence as select * from converge_ledger.subtrees;
select ledger_scrub();
select * from pg_temp.open;
select ledger_scrub();
select count(*) from pg_temp.open;
select context_id, level, index from (select * from evidence except select * from converge_ledger.subtrees) as lost;
select sequence, kind, detail from ledger_check() where kind <> 'schema' order by context_id, sequence;
select ledger_rebuild('scrub a'), ledger_rebuild('scrub c');
select ledger_scrub();
select * from pg_temp.open;
select * from pg_temp.resolved;
rollback to s;
-- An entry that was written anew with its leaf: each row is sound, and the subtrees are the evidence.
savepoint s;
select pg_temp.past($$
    update converge_ledger.entries set payload = 'evil' where (context_id, sequence) in (('scrub a', 300), ('scrub a', 4600));
    update converge_ledger.entries e set leaf_hash = pg_temp.leaf(e) where (context_id, sequence) in (('scrub a', 300), ('scrub a', 4600))$$);
create temp table evidence as select * from converge_ledger.subtrees;
select ledger_scrub();
select * from pg_temp.open;
select context_id, level, index from (select * from evidence except select * from converge_ledger.subtrees) as lost;
rollback to s;
-- So they are where a leaf below them fails.
savepoint s;
select pg_temp.past($$update converge_ledger.entries set leaf_hash = sha256('evil') where (context_id, sequence) = ('scrub a', 300)$$);
create temp table evidence as select * from converge_ledger.subtrees;
select ledger_scrub();
select * from pg_temp.open;
select context_id, level, index from (select * from evidence except select * from converge_ledger.subtrees) as lost;
rollback to s;
-- Nothing is mended where nothing is to be.
savepoint s;
set local converge_ledger.repair = report;
select pg_temp.past($past$update converge_ledger.subtrees set bitcoin = sha256(bitcoin) where context_id = 'scrub a' and level = 8 and index = 2$past$) \g /dev/null
select pg_temp.past($past$delete from converge_ledger.subtrees where context_id = 'scrub a' and level = 8 and index = 3$past$) \g /dev/null
create temp table evidence as select * from converge_ledger.subtrees;
select ledger_scrub();
select * from pg_temp.open;
select context_id, level, index from (select * from evidence except select * from converge_ledger.subtrees) as lost;
select count(*) from converge_ledger.subtrees where context_id = 'scrub a' and level = 8 and index = 3;
set local converge_ledger.repair = on;
select ledger_scrub();
select * from pg_temp.open;
rollback to s;

-- A cached root that counts and is wrong is removed; an old one is left to whoever fills the cache.
savepoint s;
select pg_temp.past($past$insert into converge_ledger.digests (size, context_id, leaf_hash, rfc6962)
select sequence, context_id, leaf_hash, sha256('wrong') from converge_ledger.entries
 where (context_id, sequence) in (('scrub a', 5000), ('scrub b', 9))$past$) \g /dev/null
select pg_temp.past($past$insert into converge_ledger.digests (size, context_id, leaf_hash, rfc6962)
select sequence, context_id, leaf_hash, ledger_root('scrub c', 300, 'rfc6962') from converge_ledger.entries
 where (context_id, sequence) = ('scrub c', 300)$past$) \g /dev/null
set local converge_ledger.repair = report;
select ledger_scrub();
select context_id, size from converge_ledger.digests order by context_id;
set local converge_ledger.repair = on;
select ledger_scrub();
select context_id, size from converge_ledger.digests order by context_id;
select last_faults from converge_ledger.scrub_pass;
rollback to s;

-- Damage of thousands of entries is no thousands of copies.
savepoint s;
select pg_temp.past($$update converge_ledger.entries set payload = 'evil' where context_id = 'scrub a' and sequence > 500$$);
select ledger_scrub();
select count(*) from pg_temp.open;
select sequence, last, reason from pg_temp.open order by sequence desc limit 2;
select ledger_scrub();
select count(*) from pg_temp.open;
select faults from converge_ledger.scrubbed where context_id = 'scrub a';
rollback to s;

-- Only the owner.
create role scrub_reader;
select ledger_grant('scrub_reader', 'read');
set local role scrub_reader;
savepoint s;
select ledger_scrub();
\echo :LAST_ERROR_SQLSTATE
rollback to s;
reset role;
set local transaction_read_only = on;
select ledger_scrub();
\echo :LAST_ERROR_SQLSTATE
rollback;
\c :home
set client_min_messages = error;
drop database regress_scrub;
