-- What must exist before anything else: settings of the script, the encoding check and the schema of the tables.

-- PostgreSQL runs the script with the schema of the public functions in front, where others may create operators and functions
-- that would be bound into ours. Nothing below is looked up outside pg_catalog; what is created names its schema. LOCAL ends with the
-- script, as PostgreSQL has set the path for the script alone; other settings would stay to the end of the transaction.
set local search_path = pg_catalog, pg_temp;

do $$
declare
    obstacle record;
begin
    if pg_catalog.current_setting('server_encoding') <> 'UTF8' then
        raise exception using
            errcode = 'feature_not_supported',
            message = 'converge_ledger needs a database whose encoding is UTF8',
            detail = pg_catalog.format('The encoding of database "%s" is %s.',
                pg_catalog.current_database(), pg_catalog.current_setting('server_encoding')),
            hint = 'Create the database with ENCODING ''UTF8''. The hashed text of an entry depends on it.';
    end if;
    -- What somebody else has made under a name of the ledger stays theirs.
    select n.nspname as name, n.nspowner::regrole as owner,
           (select count(*) from pg_class c where c.relnamespace = n.oid and c.relkind <> 'i') as relations
      into obstacle
      from pg_namespace n
     where n.nspname = 'converge_ledger';
    if found then
        raise exception using
            errcode = 'duplicate_object',
            message = 'schema "converge_ledger" already exists and does not belong to the extension',
            detail = format('Its owner is %s; it contains %s relations.', obstacle.owner, obstacle.relations),
            hint = 'Rename it with ALTER SCHEMA converge_ledger RENAME TO ..., or drop it if nobody needs it, and run CREATE EXTENSION again.';
    end if;
    select t.evtname as name, t.evtowner::regrole as owner
      into obstacle
      from pg_event_trigger t
     where t.evtname in ('converge_ledger_drop_guard', 'converge_ledger_alter_guard');
    if found then
        raise exception using
            errcode = 'duplicate_object',
            message = format('event trigger "%s" already exists and does not belong to the extension', obstacle.name),
            detail = format('Its owner is %s.', obstacle.owner),
            hint = 'Rename it with ALTER EVENT TRIGGER ... RENAME TO ..., or drop it, and run CREATE EXTENSION again.';
    end if;
end
$$;

create schema converge_ledger;
comment on schema converge_ledger is
    'tables of the converge_ledger extension: entries and what is derived from them';
