-- Under which name transactions appended that could not wait for the row of converge_ledger.node: another transaction was writing it, and has
-- not ended. So no entry is committed without a row here or there. Read where converge_ledger.node has no row. There is no unique key, because
-- transactions would wait for each other.

create table converge_ledger.node_claims (
    system_identifier bigint      not null,
    claimed_at        timestamptz not null,
    database_oid      oid         not null,
    timeline          integer     not null,
    name              text        collate "C" not null,
    backup            text        collate "C" not null
) using heap;

create index node_claims_name on converge_ledger.node_claims (name);
comment on index converge_ledger.node_claims_name is
    'the key by which the claims are read';

-- Without a unique key, the whole row identifies it to whoever publishes all tables.
alter table converge_ledger.node_claims replica identity full;

comment on table converge_ledger.node_claims is
    'name and identity under which transactions appended while the row of converge_ledger.node was not committed yet';
comment on column converge_ledger.node_claims.system_identifier is
    'system identifier of the cluster, as in pg_control_system()';
comment on column converge_ledger.node_claims.claimed_at is
    'when the transaction was committed';
comment on column converge_ledger.node_claims.database_oid is
    'OID of the database';
comment on column converge_ledger.node_claims.timeline is
    'timeline on which it was written';
comment on column converge_ledger.node_claims.name is
    'name under which the transaction appended';
comment on column converge_ledger.node_claims.backup is
    'base backup that the data directory was started from; empty for none';

select pg_catalog.pg_extension_config_dump('converge_ledger.node_claims', '');
