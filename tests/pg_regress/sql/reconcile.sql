-- What one node alone shows of rounds: without peers there is nothing to compare with; and what peers ask is answered for who may
-- read, as it is stored.

\set home :DBNAME
create database regress_reconcile;
\c regress_reconcile
create extension converge_ledger;
select ledger_set_node('node a');
insert into converge_ledger.entries (context_id, key, payload, metadata)
select 'c', 'k', convert_to('payload ' || i, 'UTF8'), jsonb_build_object('i', i) from generate_series(1, 600) as i;

select * from ledger_reconcile();
select * from ledger_reconcile('nothing');
\echo :LAST_ERROR_SQLSTATE

-- A tree as a whole, its nodes and its leaves are what the reading functions say.
select octet_length(hashes) / 32 as hashes, substr(hashes, 1, 32) = ledger_root('c', 500, 'rfc6962') as is_root
  from converge_ledger.peer_answer_1('c', 'consistency', 0::smallint, 500, 600, 1000000);
select (select substr(hashes, 33) from converge_ledger.peer_answer_1('c', 'consistency', 0::smallint, 500, 600, 1000000))
     = (select decode(string_agg(p #>> '{}', '' order by n), 'hex')
          from jsonb_array_elements(ledger_consistency('c', 500, 600) -> 'path') with ordinality as t (p, n)) as is_path;
select a.hashes = (select s.rfc6962 from converge_ledger.subtrees s where s.context_id = 'c' and s.level = 8 and s.index = 1) as is_node
  from converge_ledger.peer_answer_1('c', 'nodes', 8::smallint, 1, 1, 1000000) as a;
select a.hashes = (select string_agg(e.leaf_hash, '' order by e.sequence) from converge_ledger.entries e where e.sequence between 257 and 512) as are_leaves
  from converge_ledger.peer_answer_1('c', 'nodes', 0::smallint, 256, 256, 1000000) as a;
-- What is not there is 32 zeros among nodes; a root that cannot be computed is null.
select encode(substr(hashes, 33 + 32), 'hex') as missing from converge_ledger.peer_answer_1('c', 'nodes', 0::smallint, 598, 3, 1000000);
select hashes from converge_ledger.peer_answer_1('c', 'consistency', 0::smallint, 500, 601, 1000000);
select hashes from converge_ledger.peer_answer_1('nothing', 'consistency', 0::smallint, 1, 2, 1000000);

select a.sequence, a.lamport, a.format, a.origin, a.key, a.id, convert_from(a.payload, 'UTF8') as payload, a.metadata,
       a.salt = e.salt and a.leaf_hash = e.leaf_hash
           and a.appended_at = (extract(epoch from e.appended_at) * 1000000)::bigint as is_same, a.content_digest
  from converge_ledger.peer_answer_1('c', 'entries', 0::smallint, 7, 8, 1000000) as a
  join converge_ledger.entries as e on e.context_id = 'c' and e.sequence = a.sequence;
select a.sequence, a.payload, a.metadata, a.salt,
       a.content_digest = sha256('\x02' || e.salt || int8send(octet_length(e.payload)) || e.payload || convert_to(e.metadata::text, 'UTF8')) as is_digest
  from converge_ledger.peer_answer_1('c', 'headers', 0::smallint, 600, 700, 1000000) as a
  join converge_ledger.entries as e on e.context_id = 'c' and e.sequence = a.sequence;
-- Content of more bytes than are wanted is not shown; how many they are is.
select ledger_append('sizes', 'k', repeat('x', n)::bytea, metadata => '{"a": 1}') from generate_series(1, 4) as n;
select sequence, payload, metadata, salt is null as no_salt, content_size,
       content_digest = (select content_digest from converge_ledger.peer_answer_1('sizes', 'headers', 0::smallint, a.sequence, a.sequence, 0)) as digest
  from converge_ledger.peer_answer_1('sizes', 'entries', 0::smallint, 1, 9, 10) as a;
select * from converge_ledger.peer_answer_1('sizes', 'entries', 0::smallint, 1, 1, null);
\echo :LAST_ERROR_SQLSTATE

select * from converge_ledger.peer_answer_1('c', 'secrets', 0::smallint, 1, 1, 1000000);
\echo :LAST_ERROR_SQLSTATE
select * from converge_ledger.peer_answer_1('c', 'nodes', 9::smallint, 1, 1, 1000000);
select * from converge_ledger.peer_answer_1('c', 'nodes', 8::smallint, 0, 257, 1000000);
select * from converge_ledger.peer_answer_1('c', 'nodes', 8::smallint, 0, 0, 1000000);
select * from converge_ledger.peer_answer_1('c', 'entries', 0::smallint, -1, 1, 1000000);
\echo :LAST_ERROR_SQLSTATE
select * from converge_ledger.peer_answer_1(null, 'entries', 0::smallint, 1, 1, 1000000);
\echo :LAST_ERROR_SQLSTATE

-- Who may read may answer peers; nobody but the owner may begin a round.
create role regress_reader;
create role regress_nobody;
select ledger_grant('regress_reader', 'read');
set role regress_reader;
select count(*) from converge_ledger.peer_answer_1('c', 'entries', 0::smallint, 1, 10, 1000000);
select * from ledger_reconcile();
\echo :LAST_ERROR_SQLSTATE
set role regress_nobody;
select * from converge_ledger.peer_answer_1('c', 'entries', 0::smallint, 1, 10, 1000000);
\echo :LAST_ERROR_SQLSTATE
reset role;

begin read only;
select * from ledger_reconcile();
\echo :LAST_ERROR_SQLSTATE
rollback;
set converge_ledger.repair = off;
select * from ledger_reconcile('nothing');

\c :home
drop database regress_reconcile;
drop role regress_reader;
drop role regress_nobody;
