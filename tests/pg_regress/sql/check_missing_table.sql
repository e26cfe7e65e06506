-- A table of the ledger that is gone, or under another name, is a fault of the schema and no error: ledger_check is
-- what the other functions tell the user to run.

-- The changes would be refused otherwise.
set converge_ledger.allow_drop = on;
create function pg_temp.faults(missing text) returns table (kind text, names_it boolean) language plpgsql as $$
begin
    begin
        execute format('alter table converge_ledger.%I rename to moved', missing);
        return query select f.kind, bool_or(f.detail ~ ('converge_ledger\.' || missing)) from ledger_check() as f group by f.kind;
        raise exception using errcode = 'ZZ000';
    exception
        when sqlstate 'ZZ000' then null;
        when others then return query select sqlstate::text, false;
    end;
end $$;
select missing, f.kind, f.names_it
  from unnest(array['entries', 'contexts', 'subtrees', 'node', 'incidents', 'digests']) with ordinality as m (missing, n)
  left join lateral pg_temp.faults(missing) as f on true order by n;
