-- Cache of the roots of contexts, for comparing nodes: derived, local, not dumped. A row counts only as long as the context ends with the
-- entry that it names; a missing one costs time. Whoever replaces an entry before the last one removes the row
-- (src/store/digests.rs). Rows are updated in place, for which pages keep room.

create table converge_ledger.digests (
    size       bigint not null,
    context_id text   collate "C" not null,
    leaf_hash  bytea  not null,
    rfc6962    bytea  not null,
    constraint digests_pkey primary key (context_id)
) using heap with (fillfactor = 80);

comment on table converge_ledger.digests is
    'roots of contexts as they were compared last; derived, see ledger_rebuild';
comment on column converge_ledger.digests.size is
    'how many entries the context had';
comment on column converge_ledger.digests.context_id is
    'name of the context';
comment on column converge_ledger.digests.leaf_hash is
    'leaf hash of the last of them';
comment on column converge_ledger.digests.rfc6962 is
    'root of the tree of RFC 6962 over them';
