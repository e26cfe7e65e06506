-- Cache of the complete subtrees of 256 leaves, and of 16 of those each, up to 16,777,216: derived, not dumped.
-- A missing row costs time, never a wrong root.

create table converge_ledger.subtrees (
    index      bigint   not null,
    level      smallint not null,
    context_id text     collate "C" not null,
    bitcoin    bytea    not null,
    rfc6962    bytea    not null,
    constraint subtrees_pkey primary key (context_id, level, index)
) using heap;

comment on table converge_ledger.subtrees is
    'hashes of complete subtrees; derived, see ledger_rebuild';
comment on column converge_ledger.subtrees.index is
    'the subtree covers the leaves from index * 2^level to (index + 1) * 2^level - 1, counted from 0';
comment on column converge_ledger.subtrees.level is
    'height of the subtree: 8, 12, 16, 20 or 24';
comment on column converge_ledger.subtrees.context_id is
    'name of the context';
comment on column converge_ledger.subtrees.bitcoin is
    'hash in the tree named bitcoin';
comment on column converge_ledger.subtrees.rfc6962 is
    'hash in the tree of RFC 6962';
