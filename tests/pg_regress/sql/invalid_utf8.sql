-- A text that is not UTF-8, as a cast without function can make it, is refused wherever the ledger takes text.

begin;
create cast (bytea as text) without function;
create function pg_temp.try(statement text) returns text language plpgsql as $$
begin
    execute statement;
    return 'accepted';
exception when others then
    return sqlstate || ' ' || sqlerrm;
end $$;
select ledger_append('utf8', 'facts', 'x');
select statement, pg_temp.try(replace(statement, '@', '''\xff''::bytea::text')) as answer from unnest(array[
    'select ledger_append(@, '''', ''x''::bytea)',
    'select ledger_append(''utf8'', @, ''x''::bytea)',
    'select ledger_append(''utf8'', '''', @)',
    'select ledger_append(''utf8'', '''', ''x''::bytea, id => @)',
    'select * from ledger_append_batch(@, '''', ''{x}'')',
    'select * from ledger_append_batch(''utf8'', @, ''{x}'')',
    'insert into converge_ledger.entries (context_id, payload) values (@, ''x'')',
    'insert into converge_ledger.entries (context_id, key, payload) values (''utf8'', @, ''x'')',
    'insert into converge_ledger.entries (context_id, id, payload) values (''utf8'', @, ''x'')',
    'insert into converge_ledger.entries select sequence + 1, lamport + 1, appended_at, format, context_id, @, key, id, payload, metadata,
         salt, leaf_hash from converge_ledger.entries where context_id = ''utf8''',
    'select * from ledger_get(@)',
    'select * from ledger_head(@)',
    'select ledger_root(@)',
    'select ledger_root(''utf8'', tree => @)',
    'select ledger_proof(@, 1)',
    'select ledger_proof(''utf8'', 1, tree => @)',
    'select ledger_verify_proof(@, ledger_proof(''utf8'', 1))',
    'select ledger_verify_proof(''{}''::jsonb || jsonb_build_object(''kind'', @), 1, sha256(''x''))',
    'select ledger_consistency(@, 1)',
    'select ledger_channel(@)',
    'select ledger_listen(@)',
    'select ledger_unlisten(@)',
    'select * from ledger_check(@)',
    'select ledger_rebuild(@)',
    'select ledger_set_node(@)',
    'select ledger_adopt_node(@)']) with ordinality as s (statement, n) order by n;
-- A surrogate, an overlong form, a sequence cut short, and a NUL, which is none of the format's characters.
select bytes, pg_temp.try(format('select ledger_append(%L::bytea::text, '''', ''x''::bytea)', bytes)) as context,
       pg_temp.try(format('select ledger_append(''utf8'', '''', %L::bytea::text)', bytes)) as payload
  from unnest(array['\xeda080', '\xc080', '\x61c3', '\x00']) as bytes;
select sequence, payload from ledger_get('utf8');
rollback;
