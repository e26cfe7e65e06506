-- What connects this node with its replicas: its publication, and the origins that its subscriptions may deliver.

create function converge_ledger.required_origin(origin text) returns text
    language c immutable parallel safe
    as 'MODULE_PATHNAME', 'required_origin';
comment on function converge_ledger.required_origin(text) is
    'the name of a node, checked';

create function converge_ledger.node_name() returns text
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'node_name';
comment on function converge_ledger.node_name() is
    'the name under which this database appends; decided and written if it has none';

-- The tables of the ledger are guarded (sql/triggers/own_tables.sql): these write them.
create function converge_ledger.remember_publication(publication text, origins text) returns void
    language c volatile parallel unsafe strict
    as 'MODULE_PATHNAME', 'remember_publication';
comment on function converge_ledger.remember_publication(text, text) is
    'notes a publication that ledger_publish makes or repairs';

create function converge_ledger.forget_publication(publication text) returns boolean
    language c volatile parallel unsafe strict
    as 'MODULE_PATHNAME', 'forget_publication';
comment on function converge_ledger.forget_publication(text) is
    'forgets a publication that ledger_publish made; false if it made none of this name';

create function converge_ledger.replace_pins(subscription text, origins text[]) returns void
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'replace_pins';
comment on function converge_ledger.replace_pins(text, text[]) is
    'notes the origins that a subscription may deliver, in place of what was noted';

-- What follows names tables of the ledger in SQL.
create function converge_ledger.require_tables() returns void
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'require_tables';
comment on function converge_ledger.require_tables() is
    'raises an error if a table of the ledger is missing or was altered';

create function @extschema@.ledger_publish(publication text default 'ledger', origins text default 'own') returns text
    language plpgsql volatile parallel unsafe
    set search_path = pg_catalog, pg_temp
as $function$
declare
    node text;
    entries text := 'table converge_ledger.entries';
    faults text[];
    foreign_objects text;
begin
    perform converge_ledger.require_tables();
    if publication is null or origins is null then
        raise exception using errcode = 'null_value_not_allowed',
            message = format('argument "%s" must not be null', case when publication is null then 'publication' else 'origins' end);
    end if;
    publication := publication::name;
    case origins
        when 'own' then
            node := converge_ledger.node_name();
            entries := format('%s where (origin = %L)', entries, node);
        when 'all' then
        else
            raise exception using errcode = 'invalid_parameter_value',
                message = format('unknown choice of origins "%s"', origins),
                hint = 'Publish "own" entries, for a node''s own publication, or "all" of them, for nodes that join through this one.';
    end case;

    -- One at a time: a second call finds what the first one made.
    lock table converge_ledger.publications in share row exclusive mode;
    perform converge_ledger.remember_publication(publication, origins);

    if not exists (select from pg_publication p where p.pubname = publication) then
        execute format('create publication %I for %s with (publish = ''insert'')', publication, entries);
        return 'created';
    end if;
    if current_setting('wal_level') <> 'logical' then
        raise warning using errcode = 'object_not_in_prerequisite_state',
            message = 'wal_level is insufficient to publish logical changes',
            hint = 'Set wal_level to "logical" before creating subscriptions.';
    end if;
    faults := array(select converge_ledger.publication_faults(publication, origins, node));
    if faults = '{}' then
        return 'unchanged';
    end if;

    -- What it publishes beside the ledger is someone's: not ours to take out.
    select string_agg(object, ', ') into foreign_objects
      from (select 'all tables'
              from pg_publication p where p.pubname = publication and p.puballtables
            union all
            select 'schema ' || n.nspname
              from pg_publication p join pg_publication_namespace s on s.pnpubid = p.oid
              join pg_namespace n on n.oid = s.pnnspid
             where p.pubname = publication and n.nspname <> 'converge_ledger'
            union all
            select 'table ' || c.oid::regclass
              from pg_publication p join pg_publication_rel r on r.prpubid = p.oid
              join pg_class c on c.oid = r.prrelid
             where p.pubname = publication and c.relnamespace <> 'converge_ledger'::regnamespace) as published (object);
    if foreign_objects is not null then
        raise exception using errcode = 'object_not_in_prerequisite_state',
            message = format('publication "%s" does not belong to the ledger alone', publication),
            detail = format('It publishes %s.', foreign_objects),
            hint = 'Choose another name.';
    end if;
    execute format('alter publication %I set %s', publication, entries);
    execute format('alter publication %I set (publish = ''insert'')', publication);
    raise notice using
        message = format('entries appended before this repair may not have been sent to the subscribers of publication "%s"', publication),
        hint = 'Let each of them drop its subscription and create it again: the copy brings what it lacks, and only that is stored.';
    return 'repaired: ' || array_to_string(faults, ', ');
end
$function$;
comment on function @extschema@.ledger_publish(text, text) is
    'creates or repairs a publication of the entries that this node appended (own), or of all that it has (all)';

create function @extschema@.ledger_unpublish(publication text default 'ledger') returns void
    language plpgsql volatile parallel unsafe
    set search_path = pg_catalog, pg_temp
as $function$
begin
    perform converge_ledger.require_tables();
    if publication is null then
        raise exception using errcode = 'null_value_not_allowed',
            message = 'argument "publication" must not be null';
    end if;
    if not converge_ledger.forget_publication(publication::name::text) then
        raise exception using errcode = 'undefined_object',
            message = format('publication "%s" was not made by ledger_publish', publication);
    end if;
    execute format('drop publication if exists %I', publication);
end
$function$;
comment on function @extschema@.ledger_unpublish(text) is
    'drops a publication that ledger_publish made';

create function @extschema@.ledger_pin_origins(subscription text, origins text[]) returns void
    language plpgsql volatile parallel unsafe
    set search_path = pg_catalog, pg_temp
as $function$
begin
    perform converge_ledger.require_tables();
    if subscription is null then
        raise exception using errcode = 'null_value_not_allowed',
            message = 'argument "subscription" must not be null';
    end if;
    if cardinality(origins) > 0 and not exists (
        select from pg_subscription s join pg_database d on d.oid = s.subdbid
         where d.datname = current_database() and s.subname = ledger_pin_origins.subscription)
    then
        raise exception using errcode = 'undefined_object',
            message = format('subscription "%s" does not exist', subscription);
    end if;
    -- Of two calls at a time the later one counts.
    lock table converge_ledger.pinned_origins in share row exclusive mode;
    perform converge_ledger.replace_pins(subscription,
        array(select converge_ledger.required_origin(origin) from unnest(origins) as origin));
end
$function$;
comment on function @extschema@.ledger_pin_origins(text, text[]) is
    'lets a subscription deliver entries of these origins only; of every origin with null or an empty array';
