-- placeholder until merged
create table converge_ledger.pinned_origins (
    subscription text collate "C" not null,
    origin       text collate "C" not null,
    constraint pinned_origins_pkey primary key (subscription, origin)
);
