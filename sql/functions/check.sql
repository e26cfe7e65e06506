-- ledger_check: one row per fault, none for a sound ledger.

create function converge_ledger.shape_faults() returns table (detail text, repair text)
    language c stable parallel unsafe
    as 'MODULE_PATHNAME', 'shape_faults';
comment on function converge_ledger.shape_faults() is
    'how the tables of the ledger differ from what the compiled code reads and writes';

create function converge_ledger.entry_faults(context text)
    returns table (context_id text, sequence bigint, kind text, detail text)
    language c stable parallel unsafe
    as 'MODULE_PATHNAME', 'entry_faults';
comment on function converge_ledger.entry_faults(text) is
    'faults in entries and stored subtrees';

-- What an administrator can do to the schema so that the ledger no longer is what it says. Definitions are compared as text, and
-- types looked up by name: the settings decide how both read.
create function converge_ledger.schema_faults()
    returns table (context_id text, sequence bigint, kind text, detail text)
    language sql stable parallel unsafe
    set search_path = pg_catalog, pg_temp
    set quote_all_identifiers = off
begin atomic
    with ledger_table as (
        select c.oid, c.relname
          from pg_catalog.pg_class c
          join pg_catalog.pg_depend d
            on d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'
          join pg_catalog.pg_extension x
            on d.refclassid = 'pg_catalog.pg_extension'::regclass and x.oid = d.refobjid
         where x.extname = 'converge_ledger' and c.relkind = 'r'
    ),
    expected_trigger (relation, table_name, name, function, type) as (
        -- type: bits of pg_trigger.tgtype (1 row, 2 before, 4 insert, 8 delete, 16 update, 32 truncate)
        select t.oid, t.relname, x.name, x.function, x.type
          from ledger_table t
          join (values ('~ledger_stamp', 'entries_before_insert', 7, true),
                       ('ledger_append_only', 'entries_append_only', 27, true),
                       ('ledger_append_only_statement', 'entries_append_only', 58, true),
                       -- The ledger keeps the others for itself: nobody changes them by hand.
                       ('ledger_guard', 'own_table_guard', 31, false),
                       ('ledger_guard_statement', 'own_table_guard', 58, false)) x (name, function, type, on_entries)
            on x.on_entries = (t.relname = 'entries')
    ),
    expected_function (name, rettype) as (
        values ('entries_before_insert', 'trigger'),
               ('entries_append_only', 'trigger'),
               ('own_table_guard', 'trigger'),
               ('drop_guard', 'event_trigger'),
               ('alter_guard', 'event_trigger')
    ),
    fault (detail) as (
        select shape.detail || coalesce('; ' || shape.repair || ' repairs it', '') from converge_ledger.shape_faults() as shape
        union all
        select pg_catalog.format('trigger %I on converge_ledger.%I is missing or replaced', x.name, x.table_name)
          from expected_trigger x
         where not exists (
                   select from pg_catalog.pg_trigger t join pg_catalog.pg_proc p on p.oid = t.tgfoid
                    where t.tgrelid = x.relation and t.tgname = x.name and t.tgtype = x.type
                      and t.tgqual is null and t.tgattr = '' and t.tgnargs = 0
                      and p.proname = x.function
                      and p.pronamespace = pg_catalog.to_regnamespace('converge_ledger'))
        union all
        select pg_catalog.format('trigger %I on converge_ledger.%I is %s; ledger_rebuild() repairs it', x.name, x.table_name,
                   case t.tgenabled when 'D' then 'disabled' when 'O' then 'not fired by replication'
                                    else 'fired by replication only' end)
          from expected_trigger x
          join pg_catalog.pg_trigger t on t.tgrelid = x.relation and t.tgname = x.name
         where t.tgenabled <> 'A'
        union all
        select pg_catalog.format('trigger %I would fire after the entry is hashed', t.tgname)
          from ledger_table e join pg_catalog.pg_trigger t on t.tgrelid = e.oid
         where e.relname = 'entries' and t.tgtype & 71 = 7 and t.tgenabled <> 'D' and t.tgname > '~ledger_stamp'
        union all
        select pg_catalog.format('function converge_ledger.%I is missing or replaced', x.name)
          from expected_function x
         where not exists (
                   select from pg_catalog.pg_proc p
                     join pg_catalog.pg_language l on l.oid = p.prolang
                    where p.pronamespace = pg_catalog.to_regnamespace('converge_ledger')
                      and p.proname = x.name and p.pronargs = 0
                      and l.lanname = 'c' and p.prosrc = x.name and p.probin = '$libdir/converge_ledger'
                      and p.prorettype = x.rettype::regtype
                      and p.proconfig is null and not p.prosecdef)
        union all
        select pg_catalog.format('event trigger %I is missing or disabled', x.name)
          from (values ('converge_ledger_drop_guard', 'ddl_command_start', 'converge_ledger.drop_guard()'),
                       ('converge_ledger_alter_guard', 'ddl_command_end', 'converge_ledger.alter_guard()')) x (name, event, function)
         where not exists (
                   select from pg_catalog.pg_event_trigger t
                    where t.evtname = x.name and t.evtevent = x.event and t.evtenabled = 'A' and t.evttags is null
                      and t.evtfoid = pg_catalog.to_regprocedure(x.function))
        union all
        select pg_catalog.format('role %s may set session_replication_role',
                   case a.grantee when 0 then 'PUBLIC' else a.grantee::regrole::text end)
          from pg_catalog.pg_parameter_acl p cross join lateral pg_catalog.aclexplode(p.paracl) a
         where p.parname = 'session_replication_role' and a.privilege_type = 'SET'
           and not exists (select from pg_catalog.pg_roles r where r.oid = a.grantee and r.rolsuper)
    )
    select null::text, null::bigint, 'schema'::text, fault.detail from fault;
end;
comment on function converge_ledger.schema_faults() is
    'faults in the definition of the ledger''s tables, triggers and functions';

create function @extschema@.ledger_check(context text default null)
    returns table (context_id text, sequence bigint, kind text, detail text)
    language sql stable parallel unsafe
begin atomic
    select fault.context_id, fault.sequence, fault.kind, fault.detail
      from converge_ledger.schema_faults() as fault
    union all
    select fault.context_id, fault.sequence, fault.kind, fault.detail
      from converge_ledger.replication_faults() as fault
    union all
    select fault.context_id, fault.sequence, fault.kind, fault.detail
      from converge_ledger.entry_faults(ledger_check.context) as fault;
end;
comment on function @extschema@.ledger_check(text) is
    'one row per fault in data, stored subtrees, schema or replication; no row means sound';
