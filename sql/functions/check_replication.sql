-- The part of ledger_check that looks at publications, subscriptions and identity: what a restore loses.

-- Sets the parameters on which the text of a filter depends.
create function converge_ledger.publication_faults(publication text, origins text, node text) returns setof text
    language sql stable parallel unsafe
    set search_path = pg_catalog, pg_temp
    set quote_all_identifiers = off
    set standard_conforming_strings = on
begin atomic
    with published as (
        select p.oid, p.puballtables, p.pubinsert, p.pubupdate or p.pubdelete or p.pubtruncate as more
          from pg_catalog.pg_publication p
         where p.pubname = publication_faults.publication
    ),
    member as (
        select r.prrelid, pg_catalog.pg_get_expr(r.prqual, r.prrelid) as filter, r.prattrs as columns
          from pg_catalog.pg_publication_rel r join published p on p.oid = r.prpubid
    ),
    entries as (
        select m.* from member m where m.prrelid = pg_catalog.to_regclass('converge_ledger.entries')
    ),
    expected (filter) as (
        select case publication_faults.origins when 'own' then pg_catalog.format(
                   '(origin = ''%s''::text)', pg_catalog.replace(publication_faults.node, '''', '''''')) end
    )
    select 'it does not exist'
     where not exists (select from published)
    union all
    select 'it publishes all tables' from published p where p.puballtables
    union all
    select pg_catalog.format('it publishes schema %I', n.nspname)
      from published p join pg_catalog.pg_publication_namespace s on s.pnpubid = p.oid
      join pg_catalog.pg_namespace n on n.oid = s.pnnspid
    union all
    select pg_catalog.format('it publishes table %s', m.prrelid::regclass)
      from member m
     where m.prrelid is distinct from pg_catalog.to_regclass('converge_ledger.entries')
    union all
    select 'it does not publish table converge_ledger.entries'
      from published where not exists (select from entries)
    union all
    select pg_catalog.format('its filter is %s instead of %s',
               coalesce(e.filter, 'none'), coalesce(x.filter, 'none'))
      from entries e cross join expected x
     where e.filter is distinct from x.filter
    union all
    select 'it publishes some columns only' from entries e where e.columns is not null
    union all
    select 'it does not publish inserts' from published p where not p.pubinsert
    union all
    select 'it publishes more than inserts' from published p where p.more;
end;
comment on function converge_ledger.publication_faults(text, text, text) is
    'what a publication of entries does not do as ledger_publish made it';

-- Readers may not read converge_ledger.node, and it may be damaged.
create function converge_ledger.recorded_node() returns table (name text, is_this boolean)
    language c stable parallel safe rows 1
    as 'MODULE_PATHNAME', 'recorded_node';
comment on function converge_ledger.recorded_node() is
    'the name that this database has as a node, and whether it is the database that got it';

-- Nor may they read connection strings.
create function converge_ledger.has_peer() returns boolean
    language c stable parallel restricted
    as 'MODULE_PATHNAME', 'has_peer';
comment on function converge_ledger.has_peer() is
    'whether this database has a peer to compare itself with: an enabled subscription, or one that ledger_add_peer added';

create function converge_ledger.replication_faults()
    returns table (context_id text, sequence bigint, kind text, detail text)
    language sql stable parallel unsafe
    set search_path = pg_catalog, pg_temp
    set quote_all_identifiers = off
begin atomic
    with subscription as (
        select s.oid, s.subname, s.subenabled, s.subpublications
          from pg_catalog.pg_subscription s join pg_catalog.pg_database d on d.oid = s.subdbid
         where d.datname = pg_catalog.current_database()
    ),
    -- As it is called now: its owner may have renamed it and made another one of the former name.
    home as (
        select n.nspname as home
          from pg_catalog.pg_extension x join pg_catalog.pg_namespace n on n.oid = x.extnamespace
         where x.extname = 'converge_ledger'
    ),
    fault (kind, detail) as (
        select 'publication', pg_catalog.format(
                   'publication %1$I: %2$s; SELECT %4$I.ledger_publish(%1$L, %3$L) mends it, SELECT %4$I.ledger_unpublish(%1$L) gives it up',
                   p.publication, pg_catalog.string_agg(f.fault, ', '), p.origins, h.home)
          from converge_ledger.publications p
          left join converge_ledger.recorded_node() n on true
         cross join home h
         cross join lateral converge_ledger.publication_faults(p.publication, p.origins, n.name) as f (fault)
         group by p.publication, p.origins, h.home
        union all
        -- One that was made by CREATE PUBLICATION alone is known by what a restore leaves of it.
        select 'publication', pg_catalog.format(
                   'publication %1$I publishes nothing; SELECT %2$I.ledger_publish(%1$L) mends it if the entries of this node were in it',
                   p.pubname, h.home)
          from pg_catalog.pg_publication p cross join home h
         where p.pubinsert and not (p.puballtables or p.pubupdate or p.pubdelete or p.pubtruncate)
           and not exists (select from pg_catalog.pg_publication_rel r where r.prpubid = p.oid)
           and not exists (select from pg_catalog.pg_publication_namespace s where s.pnpubid = p.oid)
           and not exists (select from converge_ledger.publications k where k.publication = p.pubname)
           and not exists (
                   select from pg_catalog.pg_publication_rel r
                    where r.prrelid = pg_catalog.to_regclass('converge_ledger.entries'))
        union all
        select 'subscription', pg_catalog.format(
                   'subscription %I has no tables, as after a restore; drop and create it again with copy_data = true',
                   s.subname)
          from subscription s
         where not exists (select from pg_catalog.pg_subscription_rel r where r.srsubid = s.oid)
           and not s.subenabled
           -- Whose it was is known only from its name, or from that of a publication.
           and (exists (select from converge_ledger.pinned_origins o where o.subscription = s.subname)
                or s.subpublications && array['ledger', 'ledger_relay']
                or s.subpublications && array(select k.publication from converge_ledger.publications k))
        union all
        select 'subscription', pg_catalog.format(
                   'origins are pinned for subscription %1$I, which does not exist; SELECT %2$I.ledger_pin_origins(%1$L, null) forgets them',
                   o.subscription, h.home)
          from converge_ledger.pinned_origins o cross join home h
         where not exists (select from subscription s where s.subname = o.subscription)
         group by o.subscription, h.home
        union all
        select 'identity', pg_catalog.format(
                   'this database is not the one that appended as node "%s"; ledger_adopt_node lets it append', n.name)
          from converge_ledger.recorded_node() n
         where not n.is_this
    )
    select null::text, null::bigint, fault.kind, fault.detail from fault;
end;
comment on function converge_ledger.replication_faults() is
    'faults in publications, subscriptions and identity, such as a restore leaves';
