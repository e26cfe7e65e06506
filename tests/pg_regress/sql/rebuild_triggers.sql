-- A data-only restore with disabled triggers leaves them as ENABLE TRIGGER ALL does. ledger_check tells, ledger_rebuild mends.

begin;
select ledger_append('triggers', 'facts', 'x');
create view pg_temp.states as
select tgname as trigger, tgenabled as enabled from pg_trigger
 where tgrelid = 'converge_ledger.entries'::regclass and not tgisinternal order by tgname collate "C";
create function pg_temp.nothing() returns trigger language plpgsql as 'begin return new; end';
create trigger mine before insert on converge_ledger.entries for each row execute function pg_temp.nothing();
alter table converge_ledger.entries disable trigger all;
select detail from ledger_check() order by detail collate "C";
alter table converge_ledger.entries enable trigger all;
select detail from ledger_check() order by detail collate "C";
-- One context: not the table's business.
select ledger_rebuild('triggers');
select * from states;
select ledger_rebuild() > 0 as rebuilt;
select * from states;
select * from ledger_check();

alter table converge_ledger.entries disable trigger "~ledger_stamp", enable replica trigger ledger_append_only;
alter table converge_ledger.entries disable trigger mine;
select ledger_rebuild() > 0 as rebuilt;
select * from states;
select ledger_append('triggers', 'facts', 'y');
savepoint s;
\set VERBOSITY sqlstate
set session_replication_role = replica;
delete from converge_ledger.entries;
rollback to s;
-- Nothing to mend: no lock that keeps appends waiting but that of the rebuild.
rollback;
begin;
select ledger_rebuild() >= 0 as rebuilt;
select mode from pg_locks where relation = 'converge_ledger.entries'::regclass order by mode collate "C";
rollback;
-- A trigger that is gone stays gone, and the rest is rebuilt.
begin;
drop trigger ledger_append_only on converge_ledger.entries;
alter table converge_ledger.entries enable trigger "~ledger_stamp";
select ledger_rebuild() >= 0 as rebuilt;
select tgname, tgenabled from pg_trigger where tgrelid = 'converge_ledger.entries'::regclass and not tgisinternal order by tgname collate "C";
rollback;
