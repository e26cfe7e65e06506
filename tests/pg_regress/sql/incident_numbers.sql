-- The sequence of the incidents' numbers may be restarted; an arrival that cannot be accepted never raises for that. A decision that was not
-- recorded is not reported as made.

set client_min_messages = error;
\pset format unaligned
\pset tuples_only on
begin;
create procedure pg_temp.arrive(context text) language plpgsql as $$
begin
    set local session_replication_role = replica;
    insert into converge_ledger.entries
    values (1, 1, now(), 1, context, 'z', '', '', 'x', '{}', repeat('s', 16)::bytea, sha256('not its hash'), null);
    set local session_replication_role = origin;
end $$;
create temp table before as select coalesce(max(incident_id), 0) as most from converge_ledger.incidents;
create temp view mine as
    select incident_id - most as number, context_id, kind, resolved_at is not null as resolved
      from converge_ledger.incidents, before where incident_id > most;
select setval('converge_ledger.incidents_incident_id_seq', (select most + 1 from before), false) > 0;
call pg_temp.arrive('bad 1');
call pg_temp.arrive('bad 2');
call pg_temp.arrive('bad 3');
alter table converge_ledger.incidents alter incident_id restart with 1;
call pg_temp.arrive('bad 4');
call pg_temp.arrive('bad 5');
alter sequence converge_ledger.incidents_incident_id_seq restart with 1;
call pg_temp.arrive('bad 6');
select setval('converge_ledger.incidents_incident_id_seq', (select most + 3 from before), false) > 0;
call pg_temp.arrive('bad 7');
-- One that goes ahead leaves a gap.
select setval('converge_ledger.incidents_incident_id_seq', (select most + 100 from before)) > 0;
call pg_temp.arrive('bad 8');
select * from mine order by number;

-- A trigger suppresses the row, or changes it.
create function pg_temp.suppress() returns trigger language plpgsql as $$ begin return null; end $$;
create function pg_temp.change() returns trigger language plpgsql as $$ begin return old; end $$;
set local converge_ledger.allow_drop = on;
savepoint s;
create trigger mine before update on converge_ledger.incidents for each row execute function pg_temp.suppress();
select ledger_resolve(most + 1, 'keep_mine', 'so') from before;
rollback to s;
create trigger mine before update on converge_ledger.incidents for each row execute function pg_temp.change();
savepoint s;
select ledger_resolve(most + 1, 'keep_mine', 'so') from before;
rollback to s;
drop trigger mine on converge_ledger.incidents;
savepoint s;
create trigger mine before insert on converge_ledger.pinned_origins for each row execute function pg_temp.suppress();
select converge_ledger.replace_pins('some subscription', array['a', 'b']);
rollback to s;
create trigger mine before insert on converge_ledger.publications for each row execute function pg_temp.suppress();
select ledger_publish('suppressed', 'all');
rollback to s;
select converge_ledger.replace_pins('some subscription', array['a', 'b', 'a']);
select subscription, origin from converge_ledger.pinned_origins order by 2;
select converge_ledger.replace_pins('some subscription', null);
select ledger_resolve(most + 1, 'keep_mine', 'so') from before;
select * from mine where resolved;
rollback;
