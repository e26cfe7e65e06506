\set ECHO none
-- Past the guards of the ledger's tables, as somebody who may do everything could go: pg_temp.past(change) runs a statement, and
-- pg_temp.guards(false) opens them until pg_temp.guards(true).

create function pg_temp.guards(on_again boolean) returns void language plpgsql as $$
declare
    guard record;
begin
    for guard in
        select tgrelid::regclass as guarded, tgname as name, case when on_again then 'enable always' else 'disable' end as change
          from pg_catalog.pg_trigger
         where tgname in ('~ledger_stamp', 'ledger_append_only', 'ledger_append_only_statement', 'ledger_guard', 'ledger_guard_statement')
    loop
        execute pg_catalog.format('alter table %s %s trigger %I', guard.guarded, guard.change, guard.name);
    end loop;
end $$;
create function pg_temp.past(change text) returns void language plpgsql as $$
begin
    perform pg_temp.guards(false);
    execute change;
    perform pg_temp.guards(true);
end $$;
\set ECHO all
