-- ledger_incident_entries: the row that an incident begins with, and the further ones of its branch, in order.

\getenv tests PG_ABS_SRCDIR
\set past :tests '/common/past.sql'
\i :past
begin;
select pg_temp.guards(false) \g /dev/null
insert into converge_ledger.incidents (kind, source, context_id, sequence, lamport, origin, key, payload, leaf_hash, found_at)
values ('fork', 's', 'incident_entries', 3, 3, 'other', 'facts', 'three', decode(repeat('03', 32), 'hex'), '2026-01-01')
returning incident_id \gset
insert into converge_ledger.incident_entries (incident_id, sequence, lamport, context_id, origin, key, payload, leaf_hash, source, arrived_at)
values (:incident_id, 5, 5, 'incident_entries', 'other', 'facts', 'five', decode(repeat('05', 32), 'hex'), 's', '2026-01-02'),
       (:incident_id, 4, 4, 'incident_entries', 'other', 'facts', 'four', decode(repeat('04', 32), 'hex'), 's', '2026-01-02'),
       (:incident_id + 1000, 4, 4, 'incident_entries', 'third', 'facts', 'of another incident', decode(repeat('14', 32), 'hex'), 's', '2026-01-02');
select sequence, lamport, context_id, origin, key, ledger_text(payload) as payload, left(leaf_hash::text, 6) as leaf, source, arrived_at::date
  from ledger_incident_entries(:incident_id);
-- An incident about entries that are missing keeps none.
insert into converge_ledger.incidents (kind, context_id, sequence, evidence) values ('corruption', 'incident_entries', 7, '{"missing": 2}')
returning incident_id \gset
select count(*) from ledger_incident_entries(:incident_id);
rollback;

\set VERBOSITY default
select * from ledger_incident_entries(null);
\echo :LAST_ERROR_SQLSTATE
select * from ledger_incident_entries(-1);
\echo :LAST_ERROR_SQLSTATE
