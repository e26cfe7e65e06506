-- What users attach to tables of the ledger: indexes, constraints, triggers, policies, statistics, settings. pg_dump leaves out all that
-- belongs to a table of an extension. These tables remember it, so that ledger_advice can say what a restore has lost.
-- Event triggers write them (src/guard/objects.rs).

create table converge_ledger.added_objects (
    kind       text collate "C" not null,
    table_name text collate "C" not null,
    name       text collate "C" not null,
    definition text collate "C" not null,
    constraint added_objects_pkey primary key (kind, table_name, name)
) using heap;

comment on table converge_ledger.added_objects is
    'what users attached to tables of the ledger; see ledger_advice';
comment on column converge_ledger.added_objects.kind is
    'index, constraint, trigger, policy, statistics, statistics target, storage, storage parameter or owner';
comment on column converge_ledger.added_objects.table_name is
    'the table of schema converge_ledger';
comment on column converge_ledger.added_objects.name is
    'name of the object, column or parameter; empty for an owner';
comment on column converge_ledger.added_objects.definition is
    'the statement that creates it again';

select pg_catalog.pg_extension_config_dump('converge_ledger.added_objects', '');

-- Not dumped: a restore has lost what is in the other table, not in this one, and not attached.
create table converge_ledger.known_objects (
    kind       text    collate "C" not null,
    table_name text    collate "C" not null,
    name       text    collate "C" not null,
    is_own     boolean not null,
    constraint known_objects_pkey primary key (kind, table_name, name)
) using heap;

comment on table converge_ledger.known_objects is
    'what was attached to tables of the ledger after the last command that changed it';
comment on column converge_ledger.known_objects.kind is
    'as in added_objects';
comment on column converge_ledger.known_objects.table_name is
    'as in added_objects';
comment on column converge_ledger.known_objects.name is
    'as in added_objects';
comment on column converge_ledger.known_objects.is_own is
    'whether the extension created it';
