-- What is known of peers that show entries of this node that it does not have: which of them an administrator has excluded from the alarm,
-- and which of them have shown so many that all appends are refused. Nearly always empty. Its columns are known to the compiled code
-- (src/store/peer_alarms.rs).

create table converge_ledger.peer_alarms (
    peer        text        collate "C" not null,
    excluded    boolean     not null,
    since       timestamptz not null,
    incident_id bigint,
    reason      text        collate "C",
    constraint peer_alarms_pkey primary key (peer)
) using heap;

comment on table converge_ledger.peer_alarms is
    'peers that are excluded from the alarm (ledger_trust_peer), and peers whose alarm stops all appends (incidents of kind peer alarm)';
comment on column converge_ledger.peer_alarms.peer is
    'name of a subscription of this database, or of an added peer';
comment on column converge_ledger.peer_alarms.excluded is
    'true if the peer cannot stop this node from appending';
comment on column converge_ledger.peer_alarms.since is
    'when the row was last changed';
comment on column converge_ledger.peer_alarms.incident_id is
    'the open incident of kind peer alarm, as long as all appends are refused because of it; else null';
comment on column converge_ledger.peer_alarms.reason is
    'why an administrator has decided that the entries of the peers are restored; null while nobody has';

-- A restored copy meets the same peers, and lacks the same entries.
select pg_catalog.pg_extension_config_dump('converge_ledger.peer_alarms', '');
