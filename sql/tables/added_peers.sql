-- Peers beside those that subscriptions name: an origin that subscribes to nobody has none else.
-- A connection string is a secret. Nobody but the owner reads this table.

create table converge_ledger.added_peers (
    conninfo text collate "C" not null,
    name     text collate "C" not null,
    constraint added_peers_pkey primary key (conninfo)
) using heap;

comment on table converge_ledger.added_peers is
    'nodes to ask beside those to which this database subscribes; see ledger_add_peer';
comment on column converge_ledger.added_peers.conninfo is
    'how to reach it; a secret';
comment on column converge_ledger.added_peers.name is
    'name that the node had when it was added';

select pg_catalog.pg_extension_config_dump('converge_ledger.added_peers', '');
