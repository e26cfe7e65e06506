-- Contexts of which entries have arrived that nobody has judged: a gap before them, or a copy that the worker has not been
-- through. Derived, local, not dumped. One row per transaction that left some: a unique key would make those who deliver
-- wait for each other.

create table converge_ledger.unsettled (
    first      bigint      not null,
    context_id text        collate "C" not null,
    source     text        collate "C" not null,
    since      timestamptz not null
) using heap;

create index unsettled_context on converge_ledger.unsettled (context_id, first);
comment on index converge_ledger.unsettled_context is
    'finds where the judged part of a context ends';

-- Without a unique key, the whole row identifies it to whoever publishes all tables.
alter table converge_ledger.unsettled replica identity full;

comment on table converge_ledger.unsettled is
    'contexts with entries that wait to be judged; readers stop before them';
comment on column converge_ledger.unsettled.first is
    'entries from this sequence on are not judged';
comment on column converge_ledger.unsettled.context_id is
    'name of the context';
comment on column converge_ledger.unsettled.source is
    'subscription that delivered them, empty for a session';
comment on column converge_ledger.unsettled.since is
    'when they arrived';

-- A dump holds what is judged: a gap could not be restored. What is left out comes again from where it came.
select pg_catalog.pg_extension_config_dump('converge_ledger.entries', $filter$where not exists (
    select from converge_ledger.unsettled u where u.context_id = entries.context_id and u.first <= entries.sequence)$filter$);
