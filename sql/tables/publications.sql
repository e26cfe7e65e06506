-- What this node publishes. pg_dump carries a publication, but until PostgreSQL 17 not that a table of an extension is in
-- it: this table remembers, so that ledger_check can tell and ledger_publish can mend.

create table converge_ledger.publications (
    publication text collate "C" not null,
    origins     text collate "C" not null,
    constraint publications_pkey primary key (publication),
    constraint publications_origins_check check (origins in ('own', 'all'))
) using heap;

comment on table converge_ledger.publications is
    'the publications that ledger_publish made';
comment on column converge_ledger.publications.publication is
    'name of a publication of this database';
comment on column converge_ledger.publications.origins is
    'own: the entries that this node appended; all: every entry that it has';

select pg_catalog.pg_extension_config_dump('converge_ledger.publications', '');
