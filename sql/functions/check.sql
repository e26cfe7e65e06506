-- ledger_check: one row per fault, none for a sound ledger.

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
    with entries as (
        select c.*
          from pg_catalog.pg_class c
         where c.oid = pg_catalog.to_regclass('converge_ledger.entries')
    ),
    expected_trigger (name, function, type) as (
        -- type: bits of pg_trigger.tgtype (1 row, 2 before, 4 insert, 8 delete, 16 update, 32 truncate)
        values ('~ledger_stamp', 'entries_before_insert', 7),
               ('ledger_append_only', 'entries_append_only', 27),
               ('ledger_append_only_statement', 'entries_append_only', 58)
    ),
    -- Those that the ledger keeps for itself: nobody changes them by hand.
    own (name) as (
        values ('contexts'), ('subtrees'), ('digests'), ('unsettled'), ('scrubbed'), ('scrub_pass'), ('peer_rounds'), ('halted'),
               ('incidents'), ('incident_entries'), ('node'), ('publications'), ('pinned_origins'), ('added_peers')
    ),
    expected_guard (name, type) as (
        values ('ledger_guard', 31), ('ledger_guard_statement', 58)
    ),
    guard ("table", name, enabled) as (
        select own.name, x.name,
               (select t.tgenabled
                  from pg_catalog.pg_trigger t join pg_catalog.pg_proc p on p.oid = t.tgfoid
                 where t.tgrelid = c.oid and t.tgname = x.name and t.tgtype = x.type
                   and t.tgqual is null and t.tgattr = '' and t.tgnargs = 0
                   and p.proname = 'own_table_guard' and p.pronamespace = pg_catalog.to_regnamespace('converge_ledger'))
          from own cross join expected_guard x
          join pg_catalog.pg_class c on c.oid = pg_catalog.to_regclass('converge_ledger.' || own.name)
    ),
    expected_function (name, rettype) as (
        values ('entries_before_insert', 'trigger'),
               ('entries_append_only', 'trigger'),
               ('own_table_guard', 'trigger'),
               ('drop_guard', 'event_trigger')
    ),
    expected_column (number, name, type, required) as (
        values (1, 'sequence', 'bigint', true), (2, 'lamport', 'bigint', true),
               (3, 'appended_at', 'timestamp with time zone', true), (4, 'format', 'smallint', true),
               (5, 'context_id', 'text', true), (6, 'origin', 'text', true),
               (7, 'key', 'text', true), (8, 'id', 'text', true),
               (9, 'payload', 'bytea', false), (10, 'metadata', 'jsonb', false),
               (11, 'salt', 'bytea', false), (12, 'leaf_hash', 'bytea', true),
               (13, 'content_digest', 'bytea', false)
    ),
    expected_key (name, definition) as (
        values ('entries_pkey',
                'CREATE UNIQUE INDEX entries_pkey ON converge_ledger.entries USING btree (context_id, sequence)'),
               ('entries_id_key',
                'CREATE UNIQUE INDEX entries_id_key ON converge_ledger.entries USING btree (context_id, id) WHERE (id <> ''''::text)'),
               ('contexts_pkey',
                'CREATE UNIQUE INDEX contexts_pkey ON converge_ledger.contexts USING btree (context_id)'),
               ('subtrees_pkey',
                'CREATE UNIQUE INDEX subtrees_pkey ON converge_ledger.subtrees USING btree (context_id, level, index)'),
               ('node_pkey',
                'CREATE UNIQUE INDEX node_pkey ON converge_ledger.node USING btree (singleton)'),
               ('added_peers_pkey',
                'CREATE UNIQUE INDEX added_peers_pkey ON converge_ledger.added_peers USING btree (conninfo)'),
               ('digests_pkey',
                'CREATE UNIQUE INDEX digests_pkey ON converge_ledger.digests USING btree (context_id)'),
               ('scrubbed_pkey',
                'CREATE UNIQUE INDEX scrubbed_pkey ON converge_ledger.scrubbed USING btree (context_id)'),
               ('scrub_pass_pkey',
                'CREATE UNIQUE INDEX scrub_pass_pkey ON converge_ledger.scrub_pass USING btree (singleton)')
    ),
    fault (detail) as (
        select pg_catalog.format('table converge_ledger.%s is missing', x.name)
          from (values ('entries'), ('contexts'), ('subtrees'), ('node'), ('incidents'), ('added_peers'), ('digests'),
                       ('scrubbed'), ('scrub_pass')) x (name)
         where not exists (
                   select from pg_catalog.pg_class c
                    where c.oid = pg_catalog.to_regclass('converge_ledger.' || x.name) and c.relkind = 'r')
        union all
        select 'converge_ledger.entries is not logged'
          from entries e where e.relpersistence <> 'p'
        union all
        select 'converge_ledger.entries is no longer a member of the extension'
          from entries e
         where not exists (
                   select from pg_catalog.pg_depend d join pg_catalog.pg_extension x on x.oid = d.refobjid
                    where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = e.oid
                      and d.refclassid = 'pg_catalog.pg_extension'::regclass and d.deptype = 'e'
                      and x.extname = 'converge_ledger')
        union all
        select pg_catalog.format('trigger %I is missing or replaced', x.name)
          from expected_trigger x cross join entries e
         where not exists (
                   select from pg_catalog.pg_trigger t join pg_catalog.pg_proc p on p.oid = t.tgfoid
                    where t.tgrelid = e.oid and t.tgname = x.name and t.tgtype = x.type
                      and t.tgqual is null and t.tgattr = '' and t.tgnargs = 0
                      and p.proname = x.function
                      and p.pronamespace = pg_catalog.to_regnamespace('converge_ledger'))
        union all
        select pg_catalog.format('trigger %I is %s; ALTER TABLE converge_ledger.entries ENABLE ALWAYS TRIGGER %1$I mends it',
                   x.name,
                   case t.tgenabled when 'D' then 'disabled' when 'O' then 'not fired by replication'
                                    else 'fired by replication only' end)
          from expected_trigger x cross join entries e
          join pg_catalog.pg_trigger t on t.tgrelid = e.oid and t.tgname = x.name
         where t.tgenabled <> 'A'
        union all
        select case when g.enabled is null
                    then pg_catalog.format('trigger %I on converge_ledger.%I is missing or replaced', g.name, g."table")
                    else pg_catalog.format('trigger %I on converge_ledger.%I is %s; ledger_rebuild() mends it', g.name, g."table",
                             case g.enabled when 'D' then 'disabled' when 'O' then 'not fired by replication'
                                            else 'fired by replication only' end) end
          from guard g
         where g.enabled is distinct from 'A'
        union all
        select pg_catalog.format('trigger %I would fire after the entry is hashed', t.tgname)
          from entries e join pg_catalog.pg_trigger t on t.tgrelid = e.oid
         where t.tgtype & 71 = 7 and t.tgenabled <> 'D' and t.tgname > '~ledger_stamp'
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
        select 'event trigger converge_ledger_drop_guard is missing or disabled'
         where not exists (
                   select from pg_catalog.pg_event_trigger t
                    where t.evtname = 'converge_ledger_drop_guard' and t.evtenabled = 'A'
                      and t.evtfoid = pg_catalog.to_regprocedure('converge_ledger.drop_guard()'))
        union all
        select pg_catalog.format('rule %I on converge_ledger.entries', r.rulename)
          from entries e join pg_catalog.pg_rewrite r on r.ev_class = e.oid
         where e.relkind = 'r'
        union all
        select 'row security is enabled on converge_ledger.entries'
          from entries e where e.relrowsecurity or e.relforcerowsecurity
        union all
        select pg_catalog.format('table %s inherits from converge_ledger.entries', i.inhrelid::regclass)
          from entries e join pg_catalog.pg_inherits i on i.inhparent = e.oid
        union all
        select pg_catalog.format('converge_ledger.entries inherits from table %s', i.inhparent::regclass)
          from entries e join pg_catalog.pg_inherits i on i.inhrelid = e.oid
        union all
        select pg_catalog.format('column %I of converge_ledger.entries is missing or changed', x.name)
          from expected_column x cross join entries e
         where not exists (
                   select from pg_catalog.pg_attribute a
                    where a.attrelid = e.oid and a.attnum = x.number and a.attname = x.name
                      and a.atttypid = x.type::regtype and a.atttypmod = -1
                      and a.attnotnull = x.required and a.attgenerated = '' and not a.attisdropped
                      and (x.type <> 'text' or a.attcollation = '"C"'::regcollation))
        union all
        select pg_catalog.format('converge_ledger.entries has the additional column %I', a.attname)
          from entries e join pg_catalog.pg_attribute a on a.attrelid = e.oid
         where a.attnum > 13 and not a.attisdropped
        union all
        select pg_catalog.format('columns of converge_ledger.%I were changed', x.name)
          from (values ('contexts', '{text}'), ('subtrees', '{bigint,smallint,text,bytea,bytea}'),
                       ('node', '{boolean,text,bigint,oid,integer,timestamptz,text}'), ('added_peers', '{text,text}'),
                       ('digests', '{bigint,text,bytea,bytea}'),
                       ('scrubbed', '{bigint,bigint,text}'),
                       ('scrub_pass', '{bigint,bigint,bigint,bigint,timestamptz,bigint,bigint,timestamptz,timestamptz,boolean,text}')) x (name, types)
         where x.types::regtype[] <> (
                   select pg_catalog.array_agg(a.atttypid::regtype order by a.attnum)
                     from pg_catalog.pg_attribute a
                    where a.attrelid = pg_catalog.to_regclass('converge_ledger.' || x.name) and a.attnum > 0
                      and (not a.attisdropped or a.attnum <= pg_catalog.cardinality(x.types::regtype[])))
        union all
        select pg_catalog.format('converge_ledger.%I has the additional index %s', x.name, i.indexrelid::regclass)
          from (values ('contexts'), ('subtrees'), ('node'), ('added_peers'), ('digests'), ('scrubbed'),
                       ('scrub_pass')) x (name)
          join pg_catalog.pg_index i on i.indrelid = pg_catalog.to_regclass('converge_ledger.' || x.name)
         where not i.indisprimary
        union all
        select pg_catalog.format('key converge_ledger.%I is missing, changed or invalid', x.name)
          from expected_key x
         where not exists (
                   select from pg_catalog.pg_index i
                    where i.indexrelid = pg_catalog.to_regclass('converge_ledger.' || x.name)
                      and i.indisunique and i.indisvalid and i.indimmediate
                      and pg_catalog.replace(pg_catalog.pg_get_indexdef(i.indexrelid), '"', '') = x.definition)
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
