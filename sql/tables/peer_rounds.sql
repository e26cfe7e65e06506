-- What is remembered of each peer between the rounds of the reconciler. Derived, local, not dumped: who forgets it compares
-- sooner than he must.

create table converge_ledger.peer_rounds (
    began_at          timestamptz not null,
    next_at           timestamptz not null,
    bytes             bigint      not null,
    contexts_compared bigint      not null,
    differing         bigint      not null,
    repaired          bigint      not null,
    rounds            bigint      not null,
    total_repaired    bigint      not null,
    duration_ms       real        not null,
    failures          integer     not null,
    is_added          boolean     not null,
    source            text        collate "C" not null,
    node              text        collate "C",
    last_error        text        collate "C",
    constraint peer_rounds_pkey primary key (source, is_added)
) using heap;

comment on table converge_ledger.peer_rounds is
    'the last round of the reconciler with each peer; see ledger_peers';
comment on column converge_ledger.peer_rounds.began_at is
    'when it began';
comment on column converge_ledger.peer_rounds.next_at is
    'when the next one is due';
comment on column converge_ledger.peer_rounds.bytes is
    'bytes of the peer''s answers';
comment on column converge_ledger.peer_rounds.contexts_compared is
    'contexts whose sizes and roots were compared one by one; the others were equal as a whole';
comment on column converge_ledger.peer_rounds.differing is
    'contexts of which something differs';
comment on column converge_ledger.peer_rounds.repaired is
    'entries put at their places';
comment on column converge_ledger.peer_rounds.rounds is
    'rounds with this peer so far';
comment on column converge_ledger.peer_rounds.total_repaired is
    'entries that all of them put at their places';
comment on column converge_ledger.peer_rounds.duration_ms is
    'how long it took, in milliseconds';
comment on column converge_ledger.peer_rounds.failures is
    'rounds that failed since the last that did not';
comment on column converge_ledger.peer_rounds.is_added is
    'whether ledger_add_peer added the peer; else a subscription names it';
comment on column converge_ledger.peer_rounds.source is
    'name of the subscription, or the name that the added node had';
comment on column converge_ledger.peer_rounds.node is
    'name of the node; null if it has not told any';
comment on column converge_ledger.peer_rounds.last_error is
    'why it failed; null if it did not';
