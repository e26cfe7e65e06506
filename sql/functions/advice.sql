-- What an operator asks: would an append go through, and what should be set up otherwise.

create function @extschema@.ledger_can_append(context text default null) returns table (can_append boolean, reason text)
    language c volatile parallel unsafe rows 1
    as 'MODULE_PATHNAME', 'ledger_can_append';
comment on function @extschema@.ledger_can_append(text) is
    'whether this node would append now, to one context or at all, and what stands against it';

create function @extschema@.ledger_advice() returns table (kind text, detail text)
    language sql volatile parallel unsafe
    set search_path = pg_catalog, pg_temp
as $function$
    with subscription as (
        select s.oid, s.subname, d.datname = current_database() as is_here
          from pg_subscription s join pg_database d on d.oid = s.subdbid
         where s.subenabled
    ),
    -- As it is called now: its owner may have renamed it and made another one of the former name.
    home as (
        select n.nspname as home
          from pg_extension x join pg_namespace n on n.oid = x.extnamespace
         where x.extname = 'converge_ledger'
    ),
    server as (
        select exists (select from converge_ledger.worker_status() as w where w.library_loaded) as preloaded,
               (select count(*) from subscription) as subscriptions,
               current_setting('max_logical_replication_workers')::bigint as logical_workers,
               current_setting('max_worker_processes')::bigint as workers
    ),
    need as (
        -- An apply worker for each subscription, and one that copies tables. Beside them PostgreSQL's launcher; ours, a notifier,
        -- and two for rounds.
        select s.*, s.subscriptions + least(s.subscriptions, 1) as logical,
               1 + s.subscriptions + least(s.subscriptions, 1) + case when s.preloaded then 4 else 0 end as total
          from server s
    ),
    advice (place, kind, detail) as (
        select 1, 'peer', format(
                   'other databases follow this one, but it has no peer to compare itself with, and would not find out what it has '
                   'lost; SELECT %I.ledger_add_peer(connection string) adds one of them', h.home)
          from home h
         where not pg_is_in_recovery()
           and exists (
                   select from pg_replication_slots s
                    where s.slot_type = 'logical' and s.plugin = 'pgoutput' and s.database = current_database())
           and exists (
                   select from pg_publication_rel r where r.prrelid = to_regclass('converge_ledger.entries'))
           and not converge_ledger.has_peer()
        union all
        select 2, 'preload',
               'converge_ledger is not in shared_preload_libraries: writers wait for each other''s NOTIFY, nothing announces '
               'replicated entries, and replicas are not compared'
          from server s where not s.preloaded
        union all
        select 3, 'pin', format(
                   'subscription %1$I may deliver entries in the name of any node; '
                   'SELECT %2$I.ledger_pin_origins(%1$L, array of names) limits it', s.subname, h.home)
          from subscription s cross join home h
         where s.is_here
           and exists (
                   select from pg_subscription_rel r
                    where r.srsubid = s.oid and r.srrelid = to_regclass('converge_ledger.entries'))
           and not exists (select from converge_ledger.pinned_origins o where o.subscription = s.subname)
        union all
        select 4, 'workers', format(
                   'the enabled subscriptions of this server, %s, need max_logical_replication_workers = %s or more; it is %s',
                   n.subscriptions, n.logical, n.logical_workers)
          from need n where n.logical > n.logical_workers
        union all
        select 5, 'workers', format(
                   'the enabled subscriptions of this server, %s, and the workers of converge_ledger need '
                   'max_worker_processes = %s or more; it is %s', n.subscriptions, n.total, n.workers)
          from need n where n.total > n.workers
        union all
        select 6, 'wal_level', format(
                   'nobody can subscribe to publication %I: wal_level is %s, not logical',
                   p.publication, current_setting('wal_level'))
          from converge_ledger.publications p where current_setting('wal_level') <> 'logical'
        union all
        select 7, 'vacuum',
               'autovacuum is off for converge_ledger.entries: nothing freezes its rows until the server must'
         where current_setting('autovacuum') = 'off'
            or exists (
                   select from pg_class c cross join lateral pg_options_to_table(c.reloptions) as o
                    where c.oid = to_regclass('converge_ledger.entries')
                      and o.option_name = 'autovacuum_enabled' and not o.option_value::boolean)
        union all
        -- A name may contain line breaks: the detail stays one line.
        select 8, 'lost object', format(
                   '%s of converge_ledger.%I is missing, as after a restore; SELECT statement FROM converge_ledger.lost_objects() '
                   'lists the statement that creates it again: review it, then run it; converge_ledger.forget_object forgets it',
                   regexp_replace(concat_ws(' ', l.kind, nullif(l.name, '')), '[[:cntrl:]]', '?', 'g'), l.table_name)
          from converge_ledger.lost_objects() as l
    )
    select a.kind, a.detail from advice a order by a.place, a.detail
$function$;
comment on function @extschema@.ledger_advice() is
    'what should be set up otherwise on this server; none of it is a fault, and ledger_check does not report it';
