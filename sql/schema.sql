-- What must exist before anything else: settings of the script, the encoding check and the schema of the tables.

-- PostgreSQL runs the script with the schema of the public functions in front, where others may create operators and functions
-- that would be bound into ours. Nothing below is looked up outside pg_catalog; what is created names its schema. LOCAL ends with the
-- script.
set local search_path = pg_catalog, pg_temp;
set local transform_null_equals = off;
set local default_table_access_method = heap;

do $$
begin
    if pg_catalog.current_setting('server_encoding') <> 'UTF8' then
        raise exception using
            errcode = 'feature_not_supported',
            message = 'converge_ledger needs a database whose encoding is UTF8',
            detail = pg_catalog.format('The encoding of database "%s" is %s.',
                pg_catalog.current_database(), pg_catalog.current_setting('server_encoding')),
            hint = 'Create the database with ENCODING ''UTF8''. The hashed text of an entry depends on it.';
    end if;
end
$$;

create schema converge_ledger;
comment on schema converge_ledger is
    'tables of the converge_ledger extension: entries and what is derived from them';
