-- ledger_progress: what is shown while a check runs is tested in tests/cluster; here, that nothing is left behind.

begin;
\set ON_ERROR_ROLLBACK on
select ledger_append('progress', 'facts', 'x');
select ledger_progress.* from pg_stat_clear_snapshot(), ledger_progress;
select * from ledger_check('progress');
select ledger_progress.* from pg_stat_clear_snapshot(), ledger_progress;
-- A check that fails, and one that fails in a subtransaction.
select * from ledger_check('progress unknown');
do $$ begin perform ledger_check('progress unknown'); exception when undefined_object then null; end $$;
select ledger_progress.* from pg_stat_clear_snapshot(), ledger_progress;
-- A command that PostgreSQL itself shows is shown again once the check is through.
select pg_stat_clear_snapshot();
copy (select (select count(*) from ledger_check('progress')) as faults,
             (select count(*) from pg_stat_progress_copy where pid = pg_backend_pid()) as copies) to stdout;
-- For readers, without more rights.
create role regress_progress;
set role regress_progress;
select ledger_progress.* from pg_stat_clear_snapshot(), ledger_progress;
reset role;
select ledger_grant('regress_progress', 'read');
set role regress_progress;
select ledger_progress.* from pg_stat_clear_snapshot(), ledger_progress;
select count(*) from ledger_check('progress');
reset role;
rollback;
