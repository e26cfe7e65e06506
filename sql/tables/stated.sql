-- Which contexts each peer has stated, so that it is noticed when it no longer states one of them. Remembered, local, not dumped. One row for
-- each peer and part of the contexts, written when a context is added to it: rounds in which nothing is new write nothing.

create table converge_ledger.stated (
    part     integer not null,
    is_added boolean not null,
    source   text    collate "C" not null,
    marks    bytea   not null,
    constraint stated_pkey primary key (source, part, is_added)
) using heap;

comment on table converge_ledger.stated is
    'the contexts that each peer has stated, by hashes of their names';
comment on column converge_ledger.stated.part is
    'contexts are spread over 8,192 parts, by the first 32 bits of SHA-256 of their names';
comment on column converge_ledger.stated.is_added is
    'whether ledger_add_peer added the peer; else a subscription names it';
comment on column converge_ledger.stated.source is
    'name of the subscription, or the name that the added node had';
comment on column converge_ledger.stated.marks is
    'of each context the next 64 bits of that hash, in order';
