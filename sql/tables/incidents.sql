-- What could not be accepted or was found damaged, with the row as it arrived. Nothing is resolved silently.

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
);

comment on table converge_ledger.incidents is
    'quarantined rows and findings';
comment on column converge_ledger.incidents.incident_id is 'number of the incident';
comment on column converge_ledger.incidents.found_at is 'when it was found';
comment on column converge_ledger.incidents.kind is 'what it is';
comment on column converge_ledger.incidents.source is 'who delivered or found it';
comment on column converge_ledger.incidents.context_id is 'context of the row';
comment on column converge_ledger.incidents.sequence is 'sequence of the row';
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

select pg_catalog.pg_extension_config_dump('converge_ledger.incidents', '');
select pg_catalog.pg_extension_config_dump('converge_ledger.incidents_incident_id_seq', '');
