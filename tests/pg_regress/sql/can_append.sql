-- ledger_can_append says what an append would, without appending or waiting. Standbys, copies and promoted servers: tests/cluster.

begin;
select * from ledger_can_append();
select * from ledger_can_append('can_append');
select ledger_append('can_append', 'facts', 'x');
select * from ledger_can_append('can_append');
rollback;

-- It asks and writes nothing.
begin read only;
select * from ledger_can_append();
select * from ledger_can_append('can_append');
select pg_current_xact_id_if_assigned() is null as "no transaction id";
rollback;

-- Fenced: peers have entries that this node has lost.
\getenv tests PG_ABS_SRCDIR
\set past :tests '/common/past.sql'
\i :past
begin;
select ledger_append('can_append', 'facts', 'x');
select pg_temp.guards(false) \g /dev/null
insert into converge_ledger.incidents (kind, context_id, sequence, origin, evidence)
values ('rollback', 'can_append', 2, (select name from converge_ledger.node), '{"reason": "a test"}');
insert into converge_ledger.halted (incident_id, since, size, context_id)
select max(incident_id), now(), 5, 'can_append' from converge_ledger.incidents;
select pg_temp.guards(true) \g /dev/null
select can_append, regexp_replace(reason, '\d+ is|incident \d+', '...', 'g') as reason from ledger_can_append('can_append');
select * from ledger_can_append('can_append, another');
select * from ledger_can_append();
rollback;

-- Owned by another node.
begin;
select ledger_append('can_append', 'facts', 'x');
select ledger_adopt_node('regress-other');
select can_append, regexp_replace(reason, 'is "regression[^"]*"', 'is "..."') as reason from ledger_can_append('can_append');
select * from ledger_can_append('can_append, another');
rollback;

-- An entry is missing.
begin;
select ledger_append('can_append', 'facts', x) from unnest(array['one', 'two', 'three']) as x;
select pg_temp.guards(false) \g /dev/null
delete from converge_ledger.entries where context_id = 'can_append' and sequence = 2;
select pg_temp.guards(true) \g /dev/null
select * from ledger_can_append('can_append');
rollback;

\set VERBOSITY default
select * from ledger_can_append('');
\echo :LAST_ERROR_SQLSTATE
