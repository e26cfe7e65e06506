-- All that the extension itself shows is ASCII, so that a client with any encoding can read it: comments, functions, views,
-- defaults, constraints, triggers, settings. What is in the compiled code: tests/cluster/tests/ascii.rs.

create function pg_temp.is_ascii(shown text) returns boolean immutable language sql as $$ select shown !~ '[^\x01-\x7f]' $$;
select pg_temp.is_ascii('a') as plain, pg_temp.is_ascii('…') as dots, pg_temp.is_ascii('µ') as micro, pg_temp.is_ascii(null) as nothing;

create temp view member as
select d.classid, d.objid from pg_depend as d join pg_extension as x on x.oid = d.refobjid and d.refclassid = 'pg_extension'::regclass
 where x.extname = 'converge_ledger' and d.deptype = 'e'
union all select 'pg_extension'::regclass, oid from pg_extension where extname = 'converge_ledger'
union all select 'pg_constraint'::regclass, oid from pg_constraint where connamespace = 'converge_ledger'::regnamespace
union all select 'pg_trigger'::regclass, t.oid from pg_trigger as t join pg_class as c on c.oid = tgrelid where relnamespace = 'converge_ledger'::regnamespace
union all select 'pg_class'::regclass, indexrelid from pg_index join pg_class as c on c.oid = indrelid where relnamespace = 'converge_ledger'::regnamespace;

create temp view shown as
select 'comment' as what, pg_describe_object(m.classid, m.objid, d.objsubid) as of, d.description as text
  from member as m join pg_description as d on d.classoid = m.classid and d.objoid = m.objid
union all select 'name', pg_describe_object(classid, objid, 0), pg_describe_object(classid, objid, 0) from member
union all select 'source', p.oid::regprocedure::text, p.prosrc from member as m join pg_proc as p on p.oid = m.objid and m.classid = 'pg_proc'::regclass
union all select 'function', p.oid::regprocedure::text, pg_get_functiondef(p.oid) from member as m join pg_proc as p on p.oid = m.objid and m.classid = 'pg_proc'::regclass
union all select 'view', c.oid::regclass::text, pg_get_viewdef(c.oid) from member as m join pg_class as c on c.oid = m.objid and m.classid = 'pg_class'::regclass where relkind = 'v'
union all select 'default', adrelid::regclass::text, pg_get_expr(adbin, adrelid) from pg_attrdef where adrelid in (select objid from member where classid = 'pg_class'::regclass)
union all select 'constraint', conname, pg_get_constraintdef(oid) from pg_constraint where connamespace = 'converge_ledger'::regnamespace
union all select 'trigger', tgname, pg_get_triggerdef(objid) from member join pg_trigger as t on t.oid = objid and classid = 'pg_trigger'::regclass
union all select 'setting', name, concat_ws(' ', name, short_desc, extra_desc, boot_val, enumvals::text) from pg_settings where name like 'converge\_ledger.%';

select what, count(*) >= least as enough, count(*) filter (where not pg_temp.is_ascii(text)) as not_ascii
  from shown join (values ('comment', 200), ('name', 100), ('source', 60), ('function', 60), ('view', 5), ('default', 3), ('constraint', 10), ('trigger', 3), ('setting', 6)) as l (what, least) using (what)
 group by what, least order by what;
select what, of, substring(text from '.{0,30}[^\x01-\x7f]+.{0,30}') as text from shown where not pg_temp.is_ascii(text) order by 1, 2;
