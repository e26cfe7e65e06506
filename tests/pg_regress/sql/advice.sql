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

-- Commands that are printed for administrators name the extension's own functions, whatever its schema is called by now.
\getenv tests PG_ABS_SRCDIR
\set past :tests '/common/past.sql'
\i :past
begin;
alter schema public rename to "Former";
create schema public;
select "Former".ledger_publish('regress_names');
drop publication regress_names;
select pg_temp.past($$insert into converge_ledger.pinned_origins values ('regress_names', 'a')$$) \g /dev/null
select pg_temp.past($$insert into converge_ledger.incidents (kind, context_id, sequence, origin, evidence)
                      values ('unpinned', 'names', 1, 'a', '{"reason": "a test"}')$$) \g /dev/null
select detail from "Former".ledger_check() order by 1;
select regexp_replace(resolve_with, '\d+', '...', 'g') as resolve_with from "Former".ledger_open_incidents where context_id = 'names';
select statement from "Former".ledger_join_sql('{"a": "host=a"}', 'b') where statement ~ 'ledger_|EXTENSION';
rollback;
