-- Stored subtrees and the registry of contexts are derived: what is forged in them is found, and ledger_rebuild makes both again.
-- A subtree that is missing is no fault: it is computed where it is needed. A context that is missing from the registry is one.

\getenv tests PG_ABS_SRCDIR
\set past :tests '/common/past.sql'
\i :past
begin;
insert into converge_ledger.entries (context_id, payload) select 'rebuilt', int4send(i) from generate_series(1, 800) as i;
insert into converge_ledger.entries (context_id, payload) select 'rebuilt, another', int4send(i) from generate_series(1, 300) as i;
create temp table stored as select * from converge_ledger.subtrees where context_id like 'rebuilt%';
create temp table head as select bitcoin_root, rfc6962_root from ledger_head('rebuilt');
select context_id, level, index from stored order by context_id, level, index;

-- Missing: the same root; rebuilt.
select pg_temp.past($past$delete from converge_ledger.subtrees where context_id = 'rebuilt' and index = 1;
delete from converge_ledger.contexts where context_id = 'rebuilt'$past$) \g /dev/null
select * from ledger_check();
select h.bitcoin_root = head.bitcoin_root as bitcoin, h.rfc6962_root = head.rfc6962_root as rfc6962 from ledger_head('rebuilt') as h, head;
select ledger_rebuild('rebuilt');
select count(*) as not_the_same from stored as s
 where not exists (select from converge_ledger.subtrees as n
                    where (n.context_id, n.level, n.index, n.bitcoin, n.rfc6962) = (s.context_id, s.level, s.index, s.bitcoin, s.rfc6962));
select context_id from converge_ledger.contexts where context_id like 'rebuilt%' order by context_id;

-- Forged: found, and mended.
select pg_temp.past($past$update converge_ledger.subtrees set bitcoin = sha256('forged') where context_id = 'rebuilt' and index = 1;
update converge_ledger.subtrees set rfc6962 = sha256('forged') where context_id = 'rebuilt' and index = 2;
update converge_ledger.subtrees set rfc6962 = '\x00' where context_id = 'rebuilt, another';
insert into converge_ledger.subtrees (context_id, level, index, bitcoin, rfc6962)
values ('rebuilt', 8, 3, sha256('forged'), sha256('forged')), ('rebuilt', 16, 0, sha256('forged'), sha256('forged'))$past$) \g /dev/null
select context_id, sequence, kind, detail from ledger_check() order by context_id, sequence, detail collate "C";
select h.bitcoin_root = head.bitcoin_root as bitcoin from ledger_head('rebuilt') as h, head;
savepoint s;
\set VERBOSITY default
select ledger_root('rebuilt, another');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
-- All contexts.
select ledger_rebuild() = (select count(*) from converge_ledger.entries) as read_all;
select * from ledger_check();
select count(*) as not_the_same from stored as s
 where not exists (select from converge_ledger.subtrees as n
                    where (n.context_id, n.level, n.index, n.bitcoin, n.rfc6962) = (s.context_id, s.level, s.index, s.bitcoin, s.rfc6962));
select count(*) from converge_ledger.subtrees where context_id like 'rebuilt%';
select h.bitcoin_root = head.bitcoin_root as bitcoin, h.rfc6962_root = head.rfc6962_root as rfc6962 from ledger_head('rebuilt') as h, head;
select count(*) as unregistered from (select distinct context_id from converge_ledger.entries except select context_id from converge_ledger.contexts) as _;

-- A forged subtree is not spread: the append that follows keeps to the leaves, the next block is right.
select pg_temp.past($past$update converge_ledger.subtrees set bitcoin = sha256('forged') where context_id = 'rebuilt' and index = 2$past$) \g /dev/null
insert into converge_ledger.entries (context_id, payload) select 'rebuilt', int4send(i) from generate_series(801, 1100) as i;
select sequence, kind from ledger_check();
select ledger_rebuild('rebuilt');
select * from ledger_check();
-- A subtree of a context that has no entries.
select pg_temp.past($past$insert into converge_ledger.subtrees (context_id, level, index, bitcoin, rfc6962) values ('rebuilt, never', 8, 0, sha256('x'), sha256('x'))$past$) \g /dev/null
select context_id, sequence, kind, detail from ledger_check();
select ledger_rebuild() > 0 as read_all;
select * from ledger_check();
-- What is registered without having entries is forgotten.
select pg_temp.past($past$insert into converge_ledger.contexts values ('rebuilt, never')$past$) \g /dev/null
select ledger_rebuild() > 0 as read_all;
select count(*) from converge_ledger.contexts where context_id = 'rebuilt, never';

savepoint s;
select ledger_rebuild('no such context');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_rebuild('');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
-- Appending goes on in the same transaction.
select ledger_append('rebuilt', '', 'x'), ledger_append('rebuilt, new', '', 'x');
select * from ledger_check();
rollback;
