-- What could not be accepted or was found damaged, with the rows as they arrived. Nothing is resolved silently.
-- The column order of both tables is known to the compiled code (src/ledger.rs, src/receive/quarantine.rs).

create table converge_ledger.incidents (
    incident_id    bigint      generated always as identity,
    found_at       timestamptz not null default pg_catalog.clock_timestamp(),
    kind           text        collate "C" not null,
    source         text        not null default '',
    context_id     text        collate "C" not null,
    sequence       bigint,
    lamport        bigint,
    appended_at    timestamptz,
    format         smallint,
    origin         text        collate "C",
    key            text        collate "C",
    id             text        collate "C",
    payload        bytea,
    metadata       jsonb,
    salt           bytea,
    leaf_hash      bytea,
    content_digest bytea,
    evidence       jsonb       not null default '{}',
    resolved_at    timestamptz,
    resolution     text,
    constraint incidents_pkey primary key (incident_id)
) using heap;

comment on table converge_ledger.incidents is
    'quarantined rows and findings';
comment on column converge_ledger.incidents.incident_id is 'number of the incident';
comment on column converge_ledger.incidents.found_at is 'when it was found';
comment on column converge_ledger.incidents.kind is
    'damaged, fork, discontinuity, duplicate id, rollback, peer alarm, unpinned or change: see the reference';
comment on column converge_ledger.incidents.source is
    'subscription that delivered it, empty for a session';
comment on column converge_ledger.incidents.context_id is 'context of the row';
comment on column converge_ledger.incidents.sequence is
    'sequence of the row; of a fork that of its first entry that is known';
comment on column converge_ledger.incidents.lamport is 'Lamport time of the row';
comment on column converge_ledger.incidents.appended_at is 'time of the row';
comment on column converge_ledger.incidents.format is 'format of the row';
comment on column converge_ledger.incidents.origin is 'origin of the row';
comment on column converge_ledger.incidents.key is 'key of the row';
comment on column converge_ledger.incidents.id is 'id of the row';
comment on column converge_ledger.incidents.payload is 'payload of the row';
comment on column converge_ledger.incidents.metadata is 'metadata of the row';
comment on column converge_ledger.incidents.salt is 'salt of the row';
comment on column converge_ledger.incidents.leaf_hash is 'leaf hash of the row';
comment on column converge_ledger.incidents.content_digest is 'content digest of the row';
comment on column converge_ledger.incidents.evidence is 'what was found, as JSON';
comment on column converge_ledger.incidents.resolved_at is 'when it was resolved, null while it is open';
comment on column converge_ledger.incidents.resolution is 'how it was resolved';

create index incidents_branch on converge_ledger.incidents (context_id, kind, origin, sequence, leaf_hash);
comment on index converge_ledger.incidents_branch is
    'recognises what arrives again';

-- A fork is one incident, however many entries its branch has.
create table converge_ledger.incident_entries (
    incident_id    bigint      not null,
    sequence       bigint,
    lamport        bigint,
    appended_at    timestamptz,
    format         smallint,
    context_id     text        collate "C" not null,
    origin         text        collate "C",
    key            text        collate "C",
    id             text        collate "C",
    payload        bytea,
    metadata       jsonb,
    salt           bytea,
    leaf_hash      bytea,
    content_digest bytea,
    source         text        not null,
    arrived_at     timestamptz not null
) using heap;

create index incident_entries_place on converge_ledger.incident_entries (context_id, sequence, leaf_hash);
comment on index converge_ledger.incident_entries_place is
    'finds what may stand at a place of a context';

-- Without a unique key, the whole row identifies it to whoever publishes all tables.
alter table converge_ledger.incident_entries replica identity full;

comment on table converge_ledger.incident_entries is
    'further entries of a quarantined branch, beside the one in its incident';
comment on column converge_ledger.incident_entries.incident_id is 'the incident that they belong to';
comment on column converge_ledger.incident_entries.sequence is 'sequence of the row';
comment on column converge_ledger.incident_entries.lamport is 'Lamport time of the row';
comment on column converge_ledger.incident_entries.appended_at is 'time of the row';
comment on column converge_ledger.incident_entries.format is 'format of the row';
comment on column converge_ledger.incident_entries.context_id is 'context of the row';
comment on column converge_ledger.incident_entries.origin is 'origin of the row';
comment on column converge_ledger.incident_entries.key is 'key of the row';
comment on column converge_ledger.incident_entries.id is 'id of the row';
comment on column converge_ledger.incident_entries.payload is
    'payload of the row; null far behind the beginning of a branch, where only the content digest is kept';
comment on column converge_ledger.incident_entries.metadata is 'metadata of the row';
comment on column converge_ledger.incident_entries.salt is 'salt of the row';
comment on column converge_ledger.incident_entries.leaf_hash is 'leaf hash of the row';
comment on column converge_ledger.incident_entries.content_digest is 'content digest of the row';
comment on column converge_ledger.incident_entries.source is 'who delivered it';
comment on column converge_ledger.incident_entries.arrived_at is 'when it arrived';

select pg_catalog.pg_extension_config_dump('converge_ledger.incidents', '');
select pg_catalog.pg_extension_config_dump('converge_ledger.incidents_incident_id_seq', '');
select pg_catalog.pg_extension_config_dump('converge_ledger.incident_entries', '');
