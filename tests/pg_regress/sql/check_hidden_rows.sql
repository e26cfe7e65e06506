-- A row that is in the table but not in its primary key is invisible to the ledger and visible to whoever reads the table another
-- way: ledger_check tells.

create function pg_temp.faults() returns setof text language sql volatile as
$$ select kind || ': ' || regexp_replace(detail, '\d+', 'N', 'g') from ledger_check() $$;
begin;
insert into converge_ledger.entries (context_id, payload) select 'hidden', int4send(i) from generate_series(1, 3) as i;
select pg_temp.faults();
-- The next entry, put into the table while its key takes no rows.
savepoint s;
insert into converge_ledger.entries (context_id, payload) values ('hidden', 'hidden') returning * \gset
rollback to s;
set local allow_system_table_mods = on;
alter table converge_ledger.entries disable trigger "~ledger_stamp";
update pg_index set indisready = false where indexrelid = 'converge_ledger.entries_pkey'::regclass;
insert into converge_ledger.entries (sequence, lamport, appended_at, context_id, origin, payload, salt, leaf_hash)
values (:sequence, :lamport, :'appended_at', :'context_id', :'origin', :'payload', :'salt', :'leaf_hash');
update pg_index set indisready = true where indexrelid = 'converge_ledger.entries_pkey'::regclass;
alter table converge_ledger.entries enable always trigger "~ledger_stamp";
select count(*) from converge_ledger.entries where payload = 'hidden';
select count(*) from ledger_get('hidden');
select size from ledger_head('hidden');
select pg_temp.faults();
-- As many as are missing.
create temp table counted as select regexp_matches(detail, '(\d+) rows, .* shows (\d+)') as n from ledger_check();
select n[1]::int - n[2]::int as missing from counted;
-- Mended as it says.
reindex index converge_ledger.entries_pkey;
select pg_temp.faults();
select size from ledger_head('hidden');
rollback;
-- Rows that are there for nobody do not count: deleted, rolled back, not committed yet.
begin;
insert into converge_ledger.entries (context_id, payload) select 'hidden', int4send(i) from generate_series(1, 300) as i;
rollback;
select pg_temp.faults();
