-- Who this node is. Written with the first append, dumped, and compared at the first append of each session:
-- a restored or copied database must be adopted before it appends.

create table converge_ledger.node (
    singleton         boolean     not null default true,
    name              text        collate "C" not null,
    system_identifier bigint      not null,
    database_oid      oid         not null,
    timeline          integer     not null,
    named_at          timestamptz not null default pg_catalog.clock_timestamp(),
    backup            text        collate "C" not null default '',
    constraint node_pkey primary key (singleton),
    constraint node_singleton_check check (singleton)
) using heap;

comment on table converge_ledger.node is
    'name and identity of this node; at most one row';
comment on column converge_ledger.node.singleton is
    'always true: there is one row at most';
comment on column converge_ledger.node.name is
    'name under which this node appends, 1 to 63 bytes; the origin of its entries';
comment on column converge_ledger.node.system_identifier is
    'system identifier of the cluster, as in pg_control_system()';
comment on column converge_ledger.node.database_oid is
    'OID of the database';
comment on column converge_ledger.node.timeline is
    'timeline on which the identity was written: a promoted standby has another one';
comment on column converge_ledger.node.named_at is
    'when the identity was written';
comment on column converge_ledger.node.backup is
    'base backup that the data directory was started from: its first WAL location and its time; empty for none';

select pg_catalog.pg_extension_config_dump('converge_ledger.node', '');
