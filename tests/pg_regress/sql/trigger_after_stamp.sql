-- A BEFORE INSERT row trigger that would fire after the stamp is refused: it could change or discard an entry
-- that is hashed already.

begin;
create function pg_temp.pass() returns trigger language plpgsql as $$ begin return new; end $$;
create trigger "~~late" before insert on converge_ledger.entries
    for each row execute function pg_temp.pass();
savepoint s;
\set VERBOSITY default
select ledger_append('late', 'facts', 'x');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
insert into converge_ledger.entries (context_id, payload) values ('late', 'x');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select kind, detail from ledger_check();

-- Disabled, it does not fire; it is no fault then.
alter table converge_ledger.entries disable trigger "~~late";
select ledger_append('late', 'facts', 'x');
select kind, detail from ledger_check();
alter table converge_ledger.entries enable replica trigger "~~late";
savepoint s;
select ledger_append('late', 'facts', 'x');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
drop trigger "~~late" on converge_ledger.entries;

-- Neither an AFTER trigger nor a statement trigger nor one for UPDATE is in the way.
create trigger "~~after" after insert on converge_ledger.entries
    for each row execute function pg_temp.pass();
create trigger "~~statement" before insert on converge_ledger.entries
    for each statement execute function pg_temp.pass();
create trigger "~~update" before update on converge_ledger.entries
    for each row execute function pg_temp.pass();
-- One that sorts before it is not either.
create trigger "~early" before insert on converge_ledger.entries
    for each row execute function pg_temp.pass();
select ledger_append('late', 'facts', 'y');
insert into converge_ledger.entries (context_id, payload) values ('late', 'z') returning sequence;
select kind, detail from ledger_check();
rollback;
