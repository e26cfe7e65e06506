-- ledger_advice: what should be set up otherwise. None of it is a fault. Peers, pins and workers: tests/cluster.

select kind, detail from ledger_advice();
begin;
alter table converge_ledger.entries set (autovacuum_enabled = false);
select kind, detail from ledger_advice() where kind = 'vacuum';
select * from ledger_check();
rollback;
select count(*) from ledger_advice() where kind = 'vacuum';

-- Rows of a large ledger are frozen in steps that do not grow with it.
select o.option_name, o.option_value from pg_class c cross join lateral pg_options_to_table(c.reloptions) as o
 where c.oid = 'converge_ledger.entries'::regclass order by 1;
