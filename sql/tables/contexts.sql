-- Registry of contexts: derived from the entries, not dumped, never written once per append.
-- Its relation lock also serves transactions that append to thousands of contexts (src/append/lock.rs).

create table converge_ledger.contexts (
    context_id text collate "C" not null,
    constraint contexts_pkey primary key (context_id)
) using heap;

comment on table converge_ledger.contexts is
    'one row per context that has entries; derived, see ledger_rebuild';
comment on column converge_ledger.contexts.context_id is
    'name of the context';
