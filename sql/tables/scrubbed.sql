-- How far the scrub has come: derived, local, not dumped. One row per context, written only when something changes that it says, and one for
-- the pass that is under way. Passes over unchanged data write nothing per context.

create table converge_ledger.scrubbed (
    known       bigint      not null,
    faults      bigint      not null,
    context_id  text        collate "C" not null,
    constraint scrubbed_pkey primary key (context_id)
) using heap;

comment on table converge_ledger.scrubbed is
    'what the scrub knows of each context';
comment on column converge_ledger.scrubbed.known is
    'the greatest sequence of an entry that the scrub has found sound: where fewer are left, some are missing at the end';
comment on column converge_ledger.scrubbed.faults is
    'faults that the scrub found when it last read the whole context';
comment on column converge_ledger.scrubbed.context_id is
    'name of the context';

create table converge_ledger.scrub_pass (
    entries        bigint      not null,
    faults         bigint      not null,
    context_faults bigint      not null,
    sequence       bigint      not null,
    began_at       timestamptz,
    last_entries   bigint      not null,
    last_faults    bigint      not null,
    last_began_at  timestamptz,
    last_ended_at  timestamptz,
    singleton      boolean     not null default true,
    context_id     text        collate "C" not null,
    constraint scrub_pass_pkey primary key (singleton),
    constraint scrub_pass_singleton_check check (singleton)
) using heap;

comment on table converge_ledger.scrub_pass is
    'the pass of the scrub over all contexts that is under way, and the last complete one; at most one row';
comment on column converge_ledger.scrub_pass.entries is
    'entries read in this pass';
comment on column converge_ledger.scrub_pass.faults is
    'faults found in this pass';
comment on column converge_ledger.scrub_pass.context_faults is
    'those of them in the part of the context that was read';
comment on column converge_ledger.scrub_pass.sequence is
    'last entry of the context that was read; 0 when the pass is through with the context';
comment on column converge_ledger.scrub_pass.began_at is
    'when this pass began, null before it has';
comment on column converge_ledger.scrub_pass.last_entries is
    'entries read in the last complete pass';
comment on column converge_ledger.scrub_pass.last_faults is
    'faults found in the last complete pass';
comment on column converge_ledger.scrub_pass.last_began_at is
    'when the last complete pass began';
comment on column converge_ledger.scrub_pass.last_ended_at is
    'when it ended';
comment on column converge_ledger.scrub_pass.singleton is
    'always true: there is one row at most';
comment on column converge_ledger.scrub_pass.context_id is
    'context that was read last, empty at the beginning of a pass';
