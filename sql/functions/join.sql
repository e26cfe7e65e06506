-- ledger_join_sql: the statements by which a node joins others. It prints them, nothing more: each is for an administrator
-- to read and to run where it says. They name the schemas of all that they call: whoever runs them has a search path of their own. The functions
-- are taken to live where they do here.

-- Also the name of the slot on the publisher, where subscribers meet: it tells both.
create function converge_ledger.subscription_name(subscriber text, publisher text) returns text
    language sql immutable parallel safe
begin atomic
    select case
               when plain.name ~ '^[a-z0-9_]*$' and pg_catalog.length(plain.name) <= 63 then plain.name
               -- Slots have names of fewer characters than nodes.
               else pg_catalog.left(pg_catalog.regexp_replace(
                        pg_catalog.lower(plain.name collate "C"), '[^a-z0-9_]', '_', 'g'), 54)
                    || '_' || pg_catalog.left(pg_catalog.encode(
                        pg_catalog.sha256(pg_catalog.convert_to(plain.name, 'UTF8')), 'hex'), 8)
           end
      from (values ('ledger_' || subscriber || '_from_' || publisher)) as plain (name);
end;
comment on function converge_ledger.subscription_name(text, text) is
    'how ledger_join_sql names a subscription and its slot';

create function @extschema@.ledger_join_sql(
    peers jsonb, node text, conninfo text default null, through text default null,
    publication text default 'ledger', reader text default null
) returns table (step integer, run_on text, statement text)
    language plpgsql stable parallel safe
    set search_path = pg_catalog, pg_temp
as $function$
declare
    relay constant text := publication || '_relay';
    -- Part of what format() reads.
    home constant text := (
        select replace(quote_ident(n.nspname), '%', '%%')
          from pg_extension x join pg_namespace n on n.oid = x.extnamespace
         where x.extname = 'converge_ledger');
    -- From 16 on a publisher can leave out what it received itself: earlier than the filter does, and cheaper.
    origin_none constant text := case when current_setting('server_version_num')::integer >= 160000 then ', origin = none' else '' end;
    subscribe constant text := 'CREATE SUBSCRIPTION %I CONNECTION %L PUBLICATION %I WITH (enabled = false%s)';
    -- It is enabled only when it can deliver no entry but those of its peer.
    pin constant text := 'SELECT ' || home || '.ledger_pin_origins(%L, %L)';
    enable constant text := 'ALTER SUBSCRIPTION %I ENABLE';
    wait constant text := 'DO $$ BEGIN WHILE EXISTS (%s) LOOP PERFORM pg_catalog.pg_sleep(0.1); END LOOP; END $$';
    missing text;
begin
    select argument into missing
      from (values ('peers', peers is null), ('node', node is null), ('publication', publication is null)) as given (argument, absent)
     where absent limit 1;
    if found then
        raise exception using errcode = 'null_value_not_allowed',
            message = format('argument "%s" must not be null', missing);
    end if;
    if jsonb_typeof(peers) <> 'object' or peers = '{}'
       or exists (select from jsonb_each(peers) as peer where jsonb_typeof(peer.value) <> 'string') then
        raise exception using errcode = 'invalid_parameter_value',
            message = 'peers must be a JSON object of connection strings',
            hint = 'For example: {"a": "host=a.example dbname=ledger user=replica", "b": "host=b.example ..."}.';
    end if;
    if through is not null and not peers ? through then
        raise exception using errcode = 'invalid_parameter_value',
            message = format('"%s" is not among the peers', through);
    end if;
    if peers ? node then
        raise exception using errcode = 'invalid_parameter_value',
            message = format('the new node "%s" is among the peers', node);
    end if;
    perform converge_ledger.required_origin(name) from (select node union all select jsonb_object_keys(peers)) as named (name);

    return query
    with peer as (
        select key as name, value as address, key = through as relays,
               converge_ledger.subscription_name(node, key) as incoming,
               converge_ledger.subscription_name(key, node) as outgoing
          from jsonb_each_text(peers)
    ),
    command (part, peer, line, place, command) as (
        -- 1. What is published, and who may copy it.
        values (1, '', 1, node, format('CREATE EXTENSION IF NOT EXISTS converge_ledger SCHEMA ' || home)),
               (1, '', 2, node, format('SELECT ' || home || '.ledger_set_node(%L)', node))
        union all
        select 1, '', 3, node, format('SELECT ' || home || '.ledger_publish(%L)', publication) where conninfo is not null
        union all
        select 1, '', 4, node, format('SELECT ' || home || '.ledger_grant(%L, %L)', reader, 'read') where conninfo is not null and reader is not null
        union all
        select 1, name, 1, name, format('SELECT ' || home || '.ledger_publish(%L)', publication) from peer
        union all
        select 1, name, 2, name, format('SELECT ' || home || '.ledger_publish(%L, %L)', relay, 'all') from peer where relays
        union all
        select 1, name, 3, name, format('SELECT ' || home || '.ledger_grant(%L, %L)', reader, 'read') from peer where reader is not null
        -- 2. From each peer what it appended. Where everything comes through one, the others only begin to keep what
        -- they append from now on.
        union all
        select 2, name, 1, node, format(subscribe, incoming, address, publication,
                   case when through is null then '' else ', copy_data = false' end || origin_none)
          from peer where relays is not true
        union all
        select 2, name, 2, node, format(pin, incoming, array[name]) from peer where relays is not true
        union all
        select 2, name, 3, node, format(enable, incoming) from peer where through is null
        -- 3. Everything from the one.
        union all
        select 3, name, 1, node, format(subscribe, incoming, address, relay, '') from peer where relays
        union all
        select 3, name, 2, node, format(enable, incoming) from peer where relays
        -- 4. It is complete when the one has what the others appended before they began to keep it, and the new node all of that.
        union all
        select 4, name, 1, name, format(
                   'DO $$ DECLARE passed boolean; BEGIN LOOP'
                   ' SELECT relay.confirmed_flush_lsn OPERATOR(pg_catalog.>=) kept.confirmed_flush_lsn INTO STRICT passed'
                   ' FROM pg_catalog.pg_replication_slots AS relay, pg_catalog.pg_replication_slots AS kept'
                   ' WHERE relay.slot_name OPERATOR(pg_catalog.=) %L AND kept.slot_name OPERATOR(pg_catalog.=) %L;'
                   ' EXIT WHEN passed; PERFORM pg_catalog.pg_sleep(0.1); END LOOP; END $$',
                   converge_ledger.subscription_name(through, name), incoming)
          from peer where not relays
        union all
        select 5, name, 1, node, format(wait, format(
                   'SELECT FROM pg_catalog.pg_subscription AS s JOIN pg_catalog.pg_subscription_rel AS r ON r.srsubid OPERATOR(pg_catalog.=) s.oid'
                   ' WHERE s.subname OPERATOR(pg_catalog.=) %L AND r.srsubstate OPERATOR(pg_catalog.<>) %L', incoming, 'r'))
          from peer where relays
        union all
        select 5, name, 2, name, format(
                   'DO $$ DECLARE here constant pg_catalog.pg_lsn := pg_catalog.pg_current_wal_lsn(); passed boolean; BEGIN LOOP'
                   ' SELECT s.confirmed_flush_lsn OPERATOR(pg_catalog.>=) here INTO STRICT passed'
                   ' FROM pg_catalog.pg_replication_slots AS s WHERE s.slot_name OPERATOR(pg_catalog.=) %L;'
                   ' EXIT WHEN passed; PERFORM pg_catalog.pg_sleep(0.1); END LOOP; END $$', incoming)
          from peer where relays
        -- 5. From now on the one delivers its own, too. Pinned only when no transaction of before is under way.
        union all
        select 6, name, 1, node, format('ALTER SUBSCRIPTION %I DISABLE', incoming) from peer where relays
        union all
        select 6, name, 2, node, format(wait, format(
                   'SELECT FROM pg_catalog.pg_stat_subscription AS s WHERE s.subname OPERATOR(pg_catalog.=) %L AND s.pid IS NOT NULL', incoming))
          from peer where relays
        union all
        select 6, name, 3, node, format('ALTER SUBSCRIPTION %I SET PUBLICATION %I WITH (refresh = false)', incoming, publication)
          from peer where relays
        union all
        select 6, name, 4, node, format('ALTER SUBSCRIPTION %I SET (origin = none)', incoming) from peer where relays and origin_none <> ''
        union all
        select 6, name, 5, node, format(pin, incoming, array[name]) from peer where relays
        union all
        select 6, name, 6, node, format(enable, incoming) from peer where relays
        union all
        select 6, name, 7, node, format(enable, incoming) from peer where not relays
        -- 6. What the new node appends, to each peer.
        union all
        select 7, name, 1, name, format(subscribe, outgoing, conninfo, publication, origin_none) from peer where conninfo is not null
        union all
        select 7, name, 2, name, format(pin, outgoing, array[node]) from peer where conninfo is not null
        union all
        select 7, name, 3, name, format(enable, outgoing) from peer where conninfo is not null
    )
    select (row_number() over (order by part, peer collate "C", line))::integer, command.place, command.command || ';'
      from command order by 1;
end
$function$;
comment on function @extschema@.ledger_join_sql(jsonb, text, text, text, text, text) is
    'the statements by which a new node joins its peers, in order, and where to run each';
