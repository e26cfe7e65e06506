-- What must exist before anything else: the encoding check and the schema of the tables.

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
