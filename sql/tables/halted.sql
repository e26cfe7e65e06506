-- Contexts to which this node does not append: peers have shown entries of it that it has lost, and going on would give their
-- sequences a second time. Nearly always empty. Its columns are known to the compiled code (src/store/halted.rs).

create table converge_ledger.halted (
    incident_id bigint      not null,
    since       timestamptz not null,
    size        bigint      not null,
    context_id  text        collate "C" not null,
    reason      text        collate "C",
    abandoned   bytea,
    constraint halted_pkey primary key (context_id)
) using heap;

comment on table converge_ledger.halted is
    'contexts to which this node does not append until it has back what peers have shown, or somebody decides otherwise';
comment on column converge_ledger.halted.incident_id is 'the incident that says why';
comment on column converge_ledger.halted.since is 'when it was halted, or a decision changed it';
comment on column converge_ledger.halted.size is 'how many entries peers have shown';
comment on column converge_ledger.halted.context_id is 'the context';
comment on column converge_ledger.halted.reason is
    'why an administrator has decided that the entries of the peers are put back; null while nobody has';
comment on column converge_ledger.halted.abandoned is
    'leaf hash with which the other history of this node began, if it had one: recorded once all is back';

-- A copy of the database lacks the same entries.
select pg_catalog.pg_extension_config_dump('converge_ledger.halted', '');
