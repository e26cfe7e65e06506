-- What users attach to tables of the ledger, and what a restore has lost of it.

-- In PL/pgSQL, which keeps the plan: the function runs after each command that alters a table of the ledger. Settings decide how PostgreSQL prints definitions. PostgreSQL returns no definition of an object that another session has dropped meanwhile.
create function converge_ledger.attached_objects()
    returns table (kind text, table_name text, name text, definition text)
    language plpgsql stable parallel safe
    set search_path = pg_catalog, pg_temp
    set quote_all_identifiers = off
as $function$
#variable_conflict use_column
begin
    return query with ledger_table as (
        select c.oid, c.relname::text as name, c.reloptions, c.relowner, x.extowner,
               pg_catalog.format('ALTER TABLE converge_ledger.%I', c.relname) as alter_table
          from pg_catalog.pg_class c
          join pg_catalog.pg_depend d
            on d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'
          join pg_catalog.pg_extension x
            on d.refclassid = 'pg_catalog.pg_extension'::regclass and x.oid = d.refobjid
         where x.extname = 'converge_ledger' and c.relkind = 'r'
    ),
    -- Materialized: else the planner would print the definition of every index of the database.
    attached (kind, table_name, name, definition) as materialized (
    select 'index'::text, t.name, c.relname::text, pg_catalog.pg_get_indexdef(i.indexrelid)
      from ledger_table t join pg_catalog.pg_index i on i.indrelid = t.oid
      join pg_catalog.pg_class c on c.oid = i.indexrelid
     -- What is being built, or was left unfinished, is none.
     where i.indisvalid and i.indislive
       and not exists (select from pg_catalog.pg_constraint o where o.conindid = i.indexrelid)
    union all
    select 'constraint', t.name, o.conname::text,
           pg_catalog.format('%s ADD CONSTRAINT %I %s', t.alter_table, o.conname, pg_catalog.pg_get_constraintdef(o.oid))
      from ledger_table t join pg_catalog.pg_constraint o on o.conrelid = t.oid
     where o.contype in ('c', 'f', 'p', 'u', 'x')
    union all
    select 'trigger', t.name, g.tgname::text,
           pg_catalog.pg_get_triggerdef(g.oid) || case g.tgenabled
               when 'D' then pg_catalog.format('; %s DISABLE TRIGGER %I', t.alter_table, g.tgname)
               when 'A' then pg_catalog.format('; %s ENABLE ALWAYS TRIGGER %I', t.alter_table, g.tgname)
               when 'R' then pg_catalog.format('; %s ENABLE REPLICA TRIGGER %I', t.alter_table, g.tgname)
               else '' end
      from ledger_table t join pg_catalog.pg_trigger g on g.tgrelid = t.oid
     where not g.tgisinternal
    union all
    select 'policy', t.name, p.polname::text,
           pg_catalog.format('CREATE POLICY %I ON converge_ledger.%I AS %s FOR %s TO %s%s%s', p.polname, t.name,
               case when p.polpermissive then 'PERMISSIVE' else 'RESTRICTIVE' end,
               case p.polcmd when 'r' then 'SELECT' when 'a' then 'INSERT' when 'w' then 'UPDATE' when 'd' then 'DELETE' else 'ALL' end,
               (select pg_catalog.string_agg(case r.role when 0 then 'PUBLIC' else r.role::regrole::text end, ', ' order by r.role)
                  from pg_catalog.unnest(p.polroles) as r (role)),
               ' USING (' || pg_catalog.pg_get_expr(p.polqual, p.polrelid) || ')',
               ' WITH CHECK (' || pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) || ')')
      from ledger_table t join pg_catalog.pg_policy p on p.polrelid = t.oid
    union all
    select 'statistics', t.name, pg_catalog.format('%I.%I', n.nspname, s.stxname), pg_catalog.pg_get_statisticsobjdef(s.oid)
      from ledger_table t join pg_catalog.pg_statistic_ext s on s.stxrelid = t.oid
      join pg_catalog.pg_namespace n on n.oid = s.stxnamespace
    union all
    select 'statistics target', t.name, a.attname::text,
           pg_catalog.format('%s ALTER COLUMN %I SET STATISTICS %s', t.alter_table, a.attname, a.attstattarget)
      from ledger_table t join pg_catalog.pg_attribute a on a.attrelid = t.oid
     where a.attnum > 0 and not a.attisdropped and a.attstattarget >= 0
    union all
    select 'storage', t.name, a.attname::text,
           pg_catalog.format('%s ALTER COLUMN %I SET STORAGE %s', t.alter_table, a.attname,
               case a.attstorage when 'p' then 'PLAIN' when 'e' then 'EXTERNAL' when 'm' then 'MAIN' else 'EXTENDED' end)
      from ledger_table t join pg_catalog.pg_attribute a on a.attrelid = t.oid
      join pg_catalog.pg_type y on y.oid = a.atttypid
     where a.attnum > 0 and not a.attisdropped and a.attstorage <> y.typstorage
    union all
    select 'storage parameter', t.name, o.option_name,
           pg_catalog.format('%s SET (%s = %L)', t.alter_table, o.option_name, o.option_value)
      from ledger_table t cross join lateral pg_catalog.pg_options_to_table(t.reloptions) as o
    union all
    select 'owner', t.name, '', pg_catalog.format('%s OWNER TO %s', t.alter_table, t.relowner::regrole)
      from ledger_table t
     where t.relowner <> t.extowner
    )
    select a.kind, a.table_name, a.name, a.definition from attached a where a.definition is not null;
end
$function$;
comment on function converge_ledger.attached_objects() is
    'what is attached to tables of the ledger, with the statements that create it';

create function converge_ledger.note_own_objects() returns void
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'note_own_objects';
comment on function converge_ledger.note_own_objects() is
    'records what is attached to tables of the ledger as created by the extension; for its scripts';

create function converge_ledger.forget_object(kind text, table_name text, name text) returns boolean
    language c volatile parallel unsafe strict
    as 'MODULE_PATHNAME', 'forget_object';
comment on function converge_ledger.forget_object(text, text, text) is
    'forgets an object that a restore has lost and that nobody needs; false if there is none';

-- In the order in which the statements can run. The owner comes first: PostgreSQL evaluates expressions of an index as the owner of its table.
create function converge_ledger.lost_objects()
    returns table (kind text, table_name text, name text, statement text)
    language sql stable parallel safe
    set search_path = pg_catalog, pg_temp
begin atomic
    select a.kind, a.table_name, a.name, a.definition
      from converge_ledger.added_objects a
     where not exists (
               select from converge_ledger.known_objects k
                where k.kind = a.kind and k.table_name = a.table_name and k.name = a.name)
       and not exists (
               select from converge_ledger.attached_objects() as o
                where o.kind = a.kind and o.table_name = a.table_name and o.name = a.name)
     order by pg_catalog.array_position(array[
                  'owner', 'statistics target', 'storage', 'storage parameter', 'index', 'statistics', 'constraint', 'policy',
                  'trigger'], a.kind), a.table_name, a.name;
end;
comment on function converge_ledger.lost_objects() is
    'what users attached to tables of the ledger and a restore has lost, with the statements that create it again';
