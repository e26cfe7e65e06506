-- Whose entries a subscription may deliver. Written by ledger_pin_origins, read where replicated rows arrive.

create table converge_ledger.pinned_origins (
    subscription text collate "C" not null,
    origin       text collate "C" not null,
    constraint pinned_origins_pkey primary key (subscription, origin)
) using heap;

comment on table converge_ledger.pinned_origins is
    'the origins that a subscription may deliver; one that has no row here may deliver every origin';
comment on column converge_ledger.pinned_origins.subscription is
    'name of a subscription of this database';
comment on column converge_ledger.pinned_origins.origin is
    'name of a node whose entries it may deliver';

select pg_catalog.pg_extension_config_dump('converge_ledger.pinned_origins', '');
