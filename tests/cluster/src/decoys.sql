-- Plants decoys into the schema that decoys.schema names: operators, functions, types and relations that are called like PostgreSQL's own, and fit the
-- arguments of those as well or better. Whoever touches one is in the server's log. decoys.names has the words and
-- operators that the extension uses, decoys.calls the words before a parenthesis.

do $do$
declare
    home constant text := pg_catalog.quote_ident(pg_catalog.current_setting('decoys.schema'));
    words constant text[] := pg_catalog.string_to_array(pg_catalog.current_setting('decoys.names'), ' ');
    calls constant text[] := pg_catalog.string_to_array(pg_catalog.current_setting('decoys.calls'), ' ');
    one record;
    body text;
begin
    execute pg_catalog.format('create schema if not exists %s', home);
    execute pg_catalog.format(
        'create function %s.decoy_touched(what pg_catalog.text) returns pg_catalog.bool language plpgsql as $$'
        'begin raise log ''decoy touched: %%'', what; return true; end $$', home);

    create temp table kind as
    select t.oid, pg_catalog.format_type(t.oid, null) as name, t.typelem <> 0 as is_array
      from pg_catalog.unnest('{text,name,varchar,bpchar,"\"char\"",bool,int2,int4,int8,float4,float8,numeric,oid,regclass,regproc,regprocedure,regtype,
          regrole,regnamespace,bytea,jsonb,json,timestamptz,timestamp,date,interval,pg_lsn,xid,tid,aclitem,text[],name[],int2[],int4[],int8[],oid[],bytea[],
          jsonb[],bool[],regtype[],aclitem[],int2vector,oidvector}'::pg_catalog.regtype[]) as k
      join pg_catalog.pg_type as t on t.oid = k.oid;
    -- What may be given where an argument is declared as something else.
    create temp table fit as
    select k.oid as given, a.oid as declared
      from kind as k cross join pg_catalog.pg_type as a
     where k.oid = a.oid
        or exists (select from pg_catalog.pg_cast as c where c.castsource = k.oid and c.casttarget = a.oid and c.castcontext = 'i')
        or a.typname in ('any', 'anyelement', 'anynonarray', 'anycompatible', 'anycompatiblenonarray')
        or a.typname in ('anyarray', 'anycompatiblearray') and k.is_array;

    create temp table planned as
    with operator as (
        select o.oprname as name, o.oprleft, o.oprright, o.oprresult
          from pg_catalog.pg_operator as o
         where o.oprnamespace = 'pg_catalog'::pg_catalog.regnamespace and o.oprname = any (words)
    )
    select distinct on (o.name, l.given, r.given) 'operator' as what, o.name, array[l.given, r.given] as arguments, o.oprresult as result, false as is_set
      from operator as o join fit as l on l.declared = o.oprleft join fit as r on r.declared = o.oprright
    union all
    -- A literal of unknown type is first taken for one of the same type as the other argument.
    select distinct on (o.name, l.given) 'operator', o.name, array[l.given, l.given], o.oprresult, false
      from operator as o join fit as l on l.declared = o.oprleft
     where not exists (select from operator as other join fit as r on r.declared = other.oprright
                        where other.name = o.name and r.given = l.given and exists (select from fit as f where f.declared = other.oprleft and f.given = l.given))
    union all
    select distinct 'function', p.proname, array(select a from pg_catalog.unnest(p.proargtypes::pg_catalog.oid[]) as a), p.prorettype, p.proretset
      from pg_catalog.pg_proc as p
     where 'cstring'::pg_catalog.regtype <> all (p.proargtypes) and 'internal'::pg_catalog.regtype <> all (p.proargtypes) and p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace and p.proname = any (calls) and p.provariadic = 0 and p.pronargs <> 1
    union all
    select distinct on (p.proname, a.given) 'function', p.proname, array[a.given], p.prorettype, p.proretset
      from pg_catalog.pg_proc as p join fit as a on a.declared = p.proargtypes[0]
     where p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace and p.proname = any (calls) and p.pronargs = 1
    union all
    select distinct on (p.proname, a.given, b.given) 'function', p.proname, array[a.given, b.given], p.prorettype, p.proretset
      from pg_catalog.pg_proc as p join fit as a on a.declared = p.proargtypes[0] join fit as b on b.declared = p.proargtypes[1]
     where p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace and p.proname = any (calls) and p.pronargs = 2
    union all
    -- Of those that take any number of arguments, as format does.
    select distinct 'function', p.proname, array['text'::pg_catalog.regtype, a.oid, b.oid]::pg_catalog.oid[], p.prorettype, false
      from pg_catalog.pg_proc as p cross join kind as a cross join kind as b
     where p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace and p.proname = any (calls) and p.provariadic <> 0 and p.pronargs > 1
       and a.name in ('text', 'name', 'bigint', 'oid', 'regclass', 'jsonb') and b.name in ('text', 'name', 'bigint', 'oid', 'regclass', 'jsonb');

    for one in
        select distinct on (p.what, p.name, p.arguments) p.what, p.name,
               (select pg_catalog.string_agg(pg_catalog.format_type(a, null), ', ' order by n)
                  from pg_catalog.unnest(p.arguments) with ordinality as u (a, n)) as arguments,
               case when t.typtype = 'p' and t.typname not in ('void', 'record') then 'pg_catalog.text' else pg_catalog.format_type(t.oid, null) end as result, p.is_set
          from planned as p join pg_catalog.pg_type as t on t.oid = p.result
    loop
        body := pg_catalog.format('begin perform %s.decoy_touched(%L); return%s; end', home,
                    pg_catalog.format('%s %s(%s)', one.what, one.name, one.arguments), case when one.is_set or one.result = 'void' then '' else ' null' end);
        execute pg_catalog.format('create function %s.%I(%s) returns %s%s language plpgsql as %L', home,
            case one.what when 'operator' then 'operator ' || one.name else one.name end, one.arguments,
            case when one.is_set then 'setof ' else '' end, one.result, body);
        if one.what = 'operator' then
            execute pg_catalog.format('create operator %s.%s (leftarg = %s, rightarg = %s, function = %s.%I)', home, one.name,
                pg_catalog.split_part(one.arguments, ', ', 1), pg_catalog.split_part(one.arguments, ', ', 2), home, 'operator ' || one.name);
        end if;
    end loop;

    for one in
        select t.typname as name from pg_catalog.pg_type as t
         where t.typnamespace = 'pg_catalog'::pg_catalog.regnamespace and t.typtype = 'b' and t.typname = any (words)
    loop
        execute pg_catalog.format('create domain %s.%I as pg_catalog.%2$I check (%1$s.decoy_touched(%3$L))', home, one.name, 'type ' || one.name);
    end loop;

    for one in
        select c.relname as name,
               (select pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' order by a.attnum) from pg_catalog.pg_attribute as a
                 where a.attrelid = c.oid and a.attnum > 0 and a.atttypid <> 'anyarray'::pg_catalog.regtype) as columns
          from pg_catalog.pg_class as c
         where c.relnamespace = 'pg_catalog'::pg_catalog.regnamespace and c.relkind in ('r', 'v') and c.relname = any (words)
    loop
        execute pg_catalog.format('create view %s.%I as select %s from pg_catalog.%2$I where %1$s.decoy_touched(%4$L)', home, one.name, one.columns, 'relation ' || one.name);
    end loop;
    drop table kind, fit, planned;
end
$do$;
