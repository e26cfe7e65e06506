-- The log itself. Everything else can be rebuilt from it.
-- The column order is known to the compiled code (src/ledger.rs).

create table converge_ledger.entries (
    sequence       bigint      not null,
    lamport        bigint      not null,
    appended_at    timestamptz not null,
    format         smallint    not null default 1,
    context_id     text        collate "C" not null,
    origin         text        collate "C" not null,
    key            text        collate "C" not null default '',
    id             text        collate "C" not null default '',
    payload        bytea,
    metadata       jsonb       default '{}',
    salt           bytea,
    leaf_hash      bytea       not null,
    content_digest bytea,
    constraint entries_pkey primary key (context_id, sequence)
) using heap with (
    -- A log has dead rows only where a transaction was rolled back. A fixed threshold lets vacuum
    -- remove a rolled-back bulk load however large the table is.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 10000,
    -- New rows are frozen in small steps too: a vacuum after a share of a large table comes seldom and takes long.
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 1000000
);

create unique index entries_id_key on converge_ledger.entries (context_id, id) where id <> '';

comment on table converge_ledger.entries is
    'the ledgers: one row per entry, append-only';
comment on index converge_ledger.entries_id_key is
    'makes a retry with the same id harmless';
comment on column converge_ledger.entries.sequence is
    'position in the context, 1, 2, 3 and so on without gap; assigned';
comment on column converge_ledger.entries.lamport is
    'Lamport time, strictly rising in the context; assigned';
comment on column converge_ledger.entries.appended_at is
    'wall clock of the node that appended; a claim of that node; assigned';
comment on column converge_ledger.entries.format is
    'format of the hashed bytes, 1 (docs/format.md); assigned';
comment on column converge_ledger.entries.context_id is
    'the ledger that the entry belongs to, 1 to 512 bytes without control characters';
comment on column converge_ledger.entries.origin is
    'name of the node that appended the entry; assigned';
comment on column converge_ledger.entries.key is
    'kind of entry, 0 to 512 bytes; keys that begin with $ are reserved';
comment on column converge_ledger.entries.id is
    'given by the application so that a retry is recognised, 0 to 128 bytes, empty for none';
comment on column converge_ledger.entries.payload is
    'opaque bytes; null only where a later $erase entry names this one';
comment on column converge_ledger.entries.metadata is
    'a JSON object, at most 64 KiB as text';
comment on column converge_ledger.entries.salt is
    '16 random bytes that keep the digest of a guessable payload unguessable; assigned';
comment on column converge_ledger.entries.leaf_hash is
    'SHA-256 leaf hash of the entry, RFC 6962 section 2.1; assigned';
comment on column converge_ledger.entries.content_digest is
    'digest of payload, metadata and salt, kept when they are erased; else null';
