-- Nobody but the owner gets anything until ledger_grant gives it: neither PUBLIC, which PostgreSQL lets execute
-- functions by default, nor whom ALTER DEFAULT PRIVILEGES names.

do $$
declare
    object record;
begin
    for object in
        select 'table ' || c.oid::regclass as name, a.grantee
          from pg_catalog.pg_class c
          join pg_catalog.pg_depend d
            on d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'
          join pg_catalog.pg_extension x
            on d.refclassid = 'pg_catalog.pg_extension'::regclass and x.oid = d.refobjid
          cross join lateral pg_catalog.aclexplode(c.relacl) a
         where x.extname = 'converge_ledger' and c.relkind in ('r', 'S', 'v') and a.grantee <> c.relowner
        union
        select 'routine ' || p.oid::regprocedure, a.grantee
          from pg_catalog.pg_proc p
          join pg_catalog.pg_depend d
            on d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
          join pg_catalog.pg_extension x
            on d.refclassid = 'pg_catalog.pg_extension'::regclass and x.oid = d.refobjid
          cross join lateral pg_catalog.aclexplode(
              coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) a
         where x.extname = 'converge_ledger' and a.grantee <> p.proowner
        union
        select 'schema converge_ledger', a.grantee
          from pg_catalog.pg_namespace n
          cross join lateral pg_catalog.aclexplode(n.nspacl) a
         where n.nspname = 'converge_ledger' and a.grantee <> n.nspowner
    loop
        execute pg_catalog.format('revoke all on %s from %s', object.name,
            case object.grantee when 0 then 'public' else object.grantee::regrole::text end);
    end loop;
end
$$;

-- Last: after everything that the script creates.
select converge_ledger.note_own_objects();
