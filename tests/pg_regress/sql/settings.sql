-- The settings: their defaults, units and limits, and who may set them.

select ledger_append('settings', 'facts', 'x');
select name, setting, unit, vartype, context, min_val, max_val, enumvals, boot_val
  from pg_settings where name like 'converge\_ledger.%' order by name;
show converge_ledger.max_payload_size;

-- The prefix is reserved: a misspelt setting is an error.
\set VERBOSITY default
set converge_ledger.max_payload = 1;
\echo :LAST_ERROR_SQLSTATE
set converge_ledger.notify = sometimes;
\echo :LAST_ERROR_SQLSTATE
set converge_ledger.max_payload_size = '65MB';
\echo :LAST_ERROR_SQLSTATE
set converge_ledger.max_payload_size = -1;
\echo :LAST_ERROR_SQLSTATE
-- The reconciler's: the launcher reads the interval, a session may choose what it does itself.
set converge_ledger.reconcile_interval = '1s';
\echo :LAST_ERROR_SQLSTATE
set converge_ledger.repair = sometimes;
\echo :LAST_ERROR_SQLSTATE
set converge_ledger.scrub_rate = -1;
\echo :LAST_ERROR_SQLSTATE
begin;
set local converge_ledger.repair = report;
set local converge_ledger.scrub_rate = 2147483647;
rollback;

-- max_payload_size, for each kind of payload.
begin;
set local converge_ledger.max_payload_size = 10;
select ledger_append('settings', 'facts', repeat('x', 10));
select ledger_append('settings', 'facts', '[1, 2, 34]'::jsonb);
savepoint s;
select ledger_append('settings', 'facts', repeat('x', 11));
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_append('settings', 'facts', repeat('ä', 6));
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_append('settings', 'facts', '[1, 2, 345]'::jsonb);
\echo :LAST_ERROR_SQLSTATE
rollback to s;
insert into converge_ledger.entries (context_id, payload) values ('settings', '\x0000000000000000000000');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
set local converge_ledger.max_payload_size = 0;
select ledger_append('settings', 'facts', '');
savepoint s;
select ledger_append('settings', 'facts', 'x');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
-- It bounds appends, not entries that are restored.
create temp table kept as select * from ledger_get('settings') where octet_length(payload) = 10;
alter table converge_ledger.entries disable trigger all;
delete from converge_ledger.entries where context_id = 'settings' and octet_length(payload) = 10;
alter table converge_ledger.entries enable always trigger "~ledger_stamp";
insert into converge_ledger.entries select * from kept;
select count(*) from ledger_get('settings') where octet_length(payload) = 10;
rollback;

-- The default: 4 MB exactly.
begin;
select ledger_append('settings', 'large', decode(repeat('ab', 4 * 1024 * 1024), 'hex'));
savepoint s;
select ledger_append('settings', 'large', decode(repeat('ab', 4 * 1024 * 1024 + 1), 'hex'));
\echo :LAST_ERROR_SQLSTATE
rollback to s;
set local converge_ledger.max_payload_size = '64MB';
select ledger_append('settings', 'large', decode(repeat('ab', 4 * 1024 * 1024 + 1), 'hex'));
select max(octet_length(payload)) from ledger_get('settings');
select ledger_verify_proof('settings', ledger_proof('settings', 3)) as proof;
select * from ledger_check('settings');
rollback;
