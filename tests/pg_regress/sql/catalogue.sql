-- Every object of the extension, and what of it others rely on: owner, rights, language, volatility, strictness, parallel
-- safety, security, settings, comment. A change here is a change of the interface.

create temp view member as
select d.classid, d.objid, pg_describe_object(d.classid, d.objid, 0) as object
  from pg_depend as d join pg_extension as x on x.oid = d.refobjid and d.refclassid = 'pg_extension'::regclass
 where x.extname = 'converge_ledger' and d.deptype = 'e';

select object from member order by object collate "C";
select extrelocatable, extnamespace::regnamespace, (select rolsuper from pg_roles where oid = extowner) as superuser,
       (select array_agg(c::regclass order by c::regclass::text collate "C") from unnest(extconfig) as c) as dumped
  from pg_extension where extname = 'converge_ledger';

-- Functions. PUBLIC may execute none.
select p.pronamespace::regnamespace as schema, p.proname || '(' || pg_get_function_arguments(p.oid) || ')' as function, pg_get_function_result(p.oid) as result
  from pg_proc as p join member as m on m.classid = 'pg_proc'::regclass and m.objid = p.oid
 order by p.pronamespace::regnamespace::text collate "C", p.proname collate "C", pg_get_function_arguments(p.oid) collate "C";
select p.proname as function, l.lanname as language, p.provolatile as volatility, p.proisstrict as strict, p.proparallel as parallel,
       p.prosecdef as definer, p.proleakproof as leakproof, p.proconfig as settings, p.proretset as set, p.prorows as rows,
       p.proowner = x.extowner as owner, p.proacl::text = format('{%s=X/%1$s}', x.extowner::regrole) as owner_only
  from pg_proc as p join member as m on m.classid = 'pg_proc'::regclass and m.objid = p.oid
  join pg_language as l on l.oid = p.prolang cross join pg_extension as x
 where x.extname = 'converge_ledger'
 order by p.proname collate "C", pg_get_function_arguments(p.oid) collate "C";

-- Tables, sequences, indexes.
select c.relname, c.relkind, c.relpersistence, c.relowner = x.extowner as owner, c.relrowsecurity as row_security, c.reloptions as options,
       coalesce((select array_agg(format('%s: %s', a.grantee::regrole, a.privilege_type) order by a.privilege_type)
                   from aclexplode(c.relacl) as a where a.grantee <> c.relowner), '{}') as granted
  from pg_class as c cross join pg_extension as x
 where x.extname = 'converge_ledger' and c.relnamespace = 'converge_ledger'::regnamespace
 order by c.relname collate "C";
select nspname, nspowner = x.extowner as owner,
       coalesce((select array_agg(format('%s: %s', a.grantee::regrole, a.privilege_type)) from aclexplode(nspacl) as a where a.grantee <> nspowner), '{}') as granted
  from pg_namespace cross join pg_extension as x where extname = 'converge_ledger' and nspname = 'converge_ledger';
select attrelid::regclass as table, attname as column, format_type(atttypid, atttypmod) as type, attnotnull as required, collname as collation,
       attidentity as identity, pg_get_expr(adbin, adrelid) as default, attstorage as storage, attacl is not null as granted
  from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum
  left join pg_collation as l on l.oid = attcollation
 where attrelid in (select objid from member where classid = 'pg_class'::regclass) and attnum > 0 and not attisdropped
   and (select relkind from pg_class where oid = attrelid) = 'r'
 order by attrelid::regclass::text collate "C", attnum;
select conrelid::regclass as table, conname as constraint, pg_get_constraintdef(oid) as definition
  from pg_constraint where connamespace = 'converge_ledger'::regnamespace order by conrelid::regclass::text collate "C", conname collate "C";
select indexrelid::regclass as index, pg_get_indexdef(indexrelid) as definition
  from pg_index where indrelid in (select objid from member where classid = 'pg_class'::regclass) order by indexrelid::regclass::text collate "C";

-- Triggers and the event trigger.
select tgrelid::regclass as table, tgenabled as enabled, pg_get_triggerdef(oid) as definition
  from pg_trigger where tgrelid in (select objid from member where classid = 'pg_class'::regclass) and not tgisinternal order by tgrelid::regclass::text collate "C", tgname collate "C";
select evtname, evtevent, evtfoid::regproc, evtenabled, evttags, evtowner = (select extowner from pg_extension where extname = 'converge_ledger') as owner
  from pg_event_trigger where evtname like 'converge%';

-- Objects without a comment: none.
select m.object from member as m where m.classid <> 'pg_type'::regclass and m.classid <> 'pg_cast'::regclass
   and obj_description(m.objid, m.classid::regclass::name) is null
   -- A sequence of an identity column is described by its column.
   and not exists (select from pg_depend as d where d.classid = m.classid and d.objid = m.objid and d.deptype = 'i')
union all
select 'column ' || attrelid::regclass || '.' || attname from pg_attribute
 where attrelid in (select objid from member where classid = 'pg_class'::regclass) and attnum > 0 and not attisdropped
   and (select relkind from pg_class where oid = attrelid) in ('r', 'v') and col_description(attrelid, attnum) is null
union all
select 'trigger ' || tgname from pg_trigger
 where tgrelid in (select objid from member where classid = 'pg_class'::regclass) and not tgisinternal and obj_description(oid, 'pg_trigger') is null
union all
select 'index ' || indexrelid::regclass from pg_index
 where indrelid in (select objid from member where classid = 'pg_class'::regclass) and obj_description(indexrelid, 'pg_class') is null
   and not exists (select from pg_constraint where conindid = indexrelid and obj_description(oid, 'pg_constraint') is not null)
   and not indisprimary
union all
select 'extension' where obj_description((select oid from pg_extension where extname = 'converge_ledger'), 'pg_extension') is null
union all
select 'schema' where obj_description('converge_ledger'::regnamespace, 'pg_namespace') is null;

-- Functions whose names are looked up at run time need a safe search_path; those in C and with a bound body need none.
select p.proname as unsafe from pg_proc as p join member as m on m.classid = 'pg_proc'::regclass and m.objid = p.oid
  join pg_language as l on l.oid = p.prolang
 where l.lanname not in ('c', 'internal') and p.prosqlbody is null
   and coalesce(p.proconfig::text, '') !~ 'search_path=pg_catalog, pg_temp';

-- Nothing of ours was bound to an object outside pg_catalog and the extension: neither the members nor what belongs to them, as the rule of a view, an
-- index or a default. None.
with recursive own (classid, objid) as (
    select m.classid, m.objid from member as m
     union
    select d.classid, d.objid from pg_depend as d join own as o on d.refclassid = o.classid and d.refobjid = o.objid
     where d.deptype in ('a', 'i') and d.classid <> 'pg_extension'::regclass
)
select pg_describe_object(d.classid, d.objid, d.objsubid) as ours, pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid) as bound_to
  from pg_depend as d join own as o on d.classid = o.classid and d.objid = o.objid
 where d.refobjid >= 16384 and d.refclassid <> all ('{pg_extension,pg_namespace}'::regclass[])
   and not exists (select from own as r where r.classid = d.refclassid and r.objid = d.refobjid);
