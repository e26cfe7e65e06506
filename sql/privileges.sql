-- Nobody gets anything until ledger_grant gives it. PostgreSQL grants EXECUTE to PUBLIC by default.

revoke all on schema converge_ledger from public;
revoke all on all tables in schema converge_ledger from public;
revoke all on all functions in schema converge_ledger from public;

do $$
declare
    callable regprocedure;
begin
    for callable in
        select p.oid
          from pg_catalog.pg_proc p
          join pg_catalog.pg_depend d
            on d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
          join pg_catalog.pg_extension x
            on d.refclassid = 'pg_catalog.pg_extension'::regclass and x.oid = d.refobjid
         where x.extname = 'converge_ledger'
    loop
        execute pg_catalog.format('revoke all on function %s from public', callable);
    end loop;
end
$$;
