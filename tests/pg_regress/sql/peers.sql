-- Peers: what they may ask this node, and naming them. Asking real ones is tested in tests/cluster.

\set home :DBNAME
create database regress_peers;
\c regress_peers
create extension converge_ledger;
\set VERBOSITY terse
-- Before its first append a node has no name.
select name, version = (select extversion from pg_extension where extname = 'converge_ledger') as version, in_recovery,
       system_identifier = (select system_identifier from pg_control_system()) as system,
       database_oid = (select oid from pg_database where datname = current_database()) as database,
       started_at = pg_postmaster_start_time() as started, clock - clock_timestamp() < '1 minute' as clock
  from converge_ledger.peer_node_1();
select * from converge_ledger.peer_contexts_1();
select ledger_set_node('a');
select name from converge_ledger.peer_node_1();

-- Contexts, with those who began and own them.
select * from ledger_append_batch('mine', 'facts', array_fill('x'::bytea, array[300]));
begin;
select ledger_adopt_node('b');
select ledger_append('theirs', 'facts', 'x');
select * from converge_ledger.peer_contexts_1() order by context_id;
select * from converge_ledger.peer_contexts_1('a');
select * from converge_ledger.peer_contexts_1('b');
select * from converge_ledger.peer_contexts_1('nobody');
-- Times: of the oldest of those that exist.
select oldest = (select appended_at from ledger_get('mine') where sequence = 7) as oldest, clock = statement_timestamp() as clock
  from converge_ledger.peer_times_1('{mine,theirs,none}', '{7,1,1}');
select oldest from converge_ledger.peer_times_1('{none}', '{1}');
rollback;

-- A role that may read may ask; one that may not is refused.
create role regress_peer;
set role regress_peer;
select name from converge_ledger.peer_node_1();
reset role;
select ledger_grant('regress_peer', 'read');
set role regress_peer;
select name from converge_ledger.peer_node_1();
select size from converge_ledger.peer_contexts_1();
select oldest is not null as dated from converge_ledger.peer_times_1('{mine}', '{1}');
-- It sees neither the peers nor how they are reached.
select * from ledger_peers;
select * from converge_ledger.added_peers;
grant execute on function ledger_add_peer(text), ledger_drop_peer(text) to regress_peer;
reset role;
grant execute on function ledger_add_peer(text), ledger_drop_peer(text) to regress_peer;
set role regress_peer;
select ledger_add_peer('host=nowhere');
\echo :LAST_ERROR_SQLSTATE
select ledger_drop_peer('host=nowhere');
\echo :LAST_ERROR_SQLSTATE
reset role;

-- Naming peers.
select * from ledger_peers;
select ledger_add_peer(null);
\echo :LAST_ERROR_SQLSTATE
select ledger_add_peer('no connection string');
\echo :LAST_ERROR_SQLSTATE
select ledger_add_peer('host=/nowhere connect_timeout=1');
\echo :LAST_ERROR_SQLSTATE
select format('host=%s port=%s dbname=', split_part(current_setting('unix_socket_directories'), ', ', 1), current_setting('port')) as server \gset
\set own :server 'regress_peers'
select ledger_add_peer(:'own');
\echo :LAST_ERROR_SQLSTATE
\set unknown :server 'regress_no_such_database'
select ledger_add_peer(:'unknown');
\echo :LAST_ERROR_SQLSTATE
create database regress_peers_other;
\c regress_peers_other
\set other :server 'regress_peers_other'
\c regress_peers
-- Without the extension there, and without a name.
select ledger_add_peer(:'other');
\echo :LAST_ERROR_SQLSTATE
\c regress_peers_other
create extension converge_ledger;
\c regress_peers
select ledger_add_peer(:'other');
\echo :LAST_ERROR_SQLSTATE
\c regress_peers_other
select ledger_set_node('other');
select ledger_append('theirs', 'facts', 'x') from generate_series(1, 3);
\c regress_peers
select ledger_add_peer(:'other');
select ledger_add_peer(:'other');
\echo :LAST_ERROR_SQLSTATE
select subscription, peer, state, lag_entries, lag_seconds > 0 as late, gaps, quarantined, last_error from ledger_peers;
-- A name that a peer has cannot be taken, nor one of which it holds entries.
select ledger_adopt_node('other');
\echo :LAST_ERROR_SQLSTATE
-- Unless the peer is excluded from the alarm.
begin;
select ledger_trust_peer('other', false);
select trusted from ledger_peers;
select ledger_adopt_node('other');
rollback;
select ledger_trust_peer('other', false);
select ledger_trust_peer('other', false);
select peer, excluded, since <= now() as since, incident_id, reason from converge_ledger.peer_alarms;
select trusted from ledger_peers;
select ledger_trust_peer('other');
select ledger_trust_peer('other');
select count(*) from converge_ledger.peer_alarms;
-- The exclusion of a peer that is gone does not wait for another one of its name.
\getenv tests PG_ABS_SRCDIR
\set past :tests '/common/past.sql'
\i :past
begin;
select ledger_trust_peer('other', false);
select pg_temp.past($$insert into converge_ledger.peer_alarms values ('gone', true, now(), null, null)$$) \g /dev/null
select count(*) >= 0 as reconciled from ledger_reconcile();
select peer, excluded from converge_ledger.peer_alarms;
rollback;
\set VERBOSITY default
select ledger_trust_peer('nobody', false);
\set VERBOSITY sqlstate
select ledger_trust_peer('nobody');
select ledger_trust_peer(null);
select ledger_trust_peer('other', null);
begin read only;
select ledger_trust_peer('other', false);
rollback;
grant execute on function ledger_trust_peer to regress_peer;
set role regress_peer;
select ledger_trust_peer('other', false);
select count(*) from converge_ledger.peer_alarms;
reset role;
revoke execute on function ledger_trust_peer from regress_peer;
\set VERBOSITY terse
-- A peer that is gone can still be included again.
select ledger_trust_peer('other', false);
begin;
select ledger_drop_peer(:'other');
select ledger_trust_peer('other');
select ledger_trust_peer('other');
rollback;
select ledger_trust_peer('other');
begin read only;
-- Looking is allowed.
select lag_entries from ledger_peers;
select ledger_add_peer(:'other');
\echo :LAST_ERROR_SQLSTATE
rollback;
select * from ledger_check();
select ledger_drop_peer(:'other');
select ledger_drop_peer(:'other');
\echo :LAST_ERROR_SQLSTATE
select count(*) from converge_ledger.added_peers;
select ledger_adopt_node('other');

\c :home
drop database regress_peers;
drop database regress_peers_other;
drop role regress_peer;
