-- A history that was rewritten with its leaf hashes recomputed is sound in itself: a root that was noted before is
-- what tells, and the proofs made before.

\getenv source PG_ABS_SRCDIR
\set oracle :source '/oracle/format_1.sql'
\set ECHO none
\i :oracle
\set ECHO all
begin;
insert into converge_ledger.entries (context_id, payload) select 'rewritten', int4send(i) from generate_series(1, 5) as i;
select bitcoin_root as noted, rfc6962_root as noted_rfc6962 from ledger_head('rewritten') \gset
select ledger_proof('rewritten', 3) as proof \gset
alter table converge_ledger.entries disable trigger all;
update converge_ledger.entries set payload = '\x00' where context_id = 'rewritten' and sequence = 3;
update converge_ledger.entries as e set leaf_hash = pg_temp.leaf(e) where context_id = 'rewritten' and sequence = 3;
alter table converge_ledger.entries enable always trigger "~ledger_stamp";
alter table converge_ledger.entries enable always trigger ledger_append_only;
alter table converge_ledger.entries enable always trigger ledger_append_only_statement;

select * from ledger_check('rewritten');
select ledger_root('rewritten', 5) = :'noted' as same_root, ledger_root('rewritten', 5, 'rfc6962') = :'noted_rfc6962' as same_root;
-- The old proof still holds against the noted root, and not against this database.
select ledger_verify_proof(:'proof', 5, :'noted') as against_noted, ledger_verify_proof('rewritten', :'proof') as here;
-- A proof of the forged entry does not hold against the noted root.
select ledger_verify_proof(ledger_proof('rewritten', 3), 5, :'noted') as forged;
-- Nor does a later tree that continues it prove consistent.
select ledger_append('rewritten', '', 'six');
select ledger_verify_consistency(ledger_consistency('rewritten', 5), 5, :'noted_rfc6962', 6, ledger_root('rewritten', 6, 'rfc6962')) as consistent;
rollback;

-- An entry that does not hash to its leaf cannot be proved.
begin;
insert into converge_ledger.entries (context_id, payload) select 'rewritten', int4send(i) from generate_series(1, 5) as i;
alter table converge_ledger.entries disable trigger all;
update converge_ledger.entries set payload = '\x00' where context_id = 'rewritten' and sequence = 3;
\set VERBOSITY terse
savepoint s;
select ledger_proof('rewritten', 3);
\echo :LAST_ERROR_SQLSTATE
rollback to s;
-- The others can: the tree is one of leaves.
select ledger_verify_proof('rewritten', ledger_proof('rewritten', 4)) as proved;
rollback;
