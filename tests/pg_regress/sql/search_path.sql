-- SQL that the library runs in a session has a search path of its own, for as long as it runs: an operator that is in front of PostgreSQL's is not
-- called, and afterwards the session has its own path, also after an error.

create schema regress_hostile;
create function regress_hostile.refuse(text, text) returns boolean language plpgsql as
    $$ begin raise exception 'touched' using errcode = 'ZZ001'; end $$;
create operator regress_hostile.= (leftarg = text, rightarg = text, function = regress_hostile.refuse);
create domain regress_hostile.text as pg_catalog.text check (regress_hostile.refuse('', ''));
select ledger_append('search path', 'facts', 'x'::text);
-- A row that arrives damaged, and so becomes an incident.
set client_min_messages = error;
set session_replication_role = replica;
insert into converge_ledger.entries (sequence, lamport, appended_at, format, context_id, origin, key, id, payload, metadata, salt, leaf_hash)
    values (7, 7, '2026-01-01', 1, 'search path', 'elsewhere', 'k', '', 'x', '{}', 'salt', sha256('x'));
reset session_replication_role;
select max(incident_id) as incident from converge_ledger.incidents where context_id = 'search path' and resolved_at is null \gset

set search_path = regress_hostile, pg_catalog, public;
select 'a'::pg_catalog.text = 'a'::pg_catalog.text;
-- There is somebody to talk to, so incidents are looked up by their kind.
create subscription regress_peer connection 'host=/nowhere dbname=nowhere' publication nothing with (connect = false, slot_name = none);
alter subscription regress_peer set (slot_name = 'regress_peer');
alter subscription regress_peer enable;
select finding, action from public.ledger_reconcile();
alter subscription regress_peer disable;
alter subscription regress_peer set (slot_name = none);
drop subscription regress_peer;
select public.ledger_scrub(1) > 0 as scrubbed;
-- Definitions are compared as they read without these settings.
set quote_all_identifiers = on;
select pg_catalog.count(*) from public.ledger_check() where kind operator(pg_catalog.=) 'schema';
reset quote_all_identifiers;

-- The last statement fails: an incident cannot be closed here.
\set VERBOSITY sqlstate
begin;
savepoint s;
set local transaction_read_only = on;
select public.ledger_resolve(:incident, 'keep_mine', 'seen');
rollback to s;
show search_path;
show session_replication_role;
select public.ledger_resolve(:incident, 'keep_mine', 'seen');
show search_path;
commit;
show search_path;
reset search_path;
drop schema regress_hostile cascade;
reset client_min_messages;
