-- Which function a call means by the type of its payload, and what of it is stored. ledger_append_text, ledger_append_bytes and
-- ledger_append_json mean one type each, whatever type a driver gives its values.

begin;
select ledger_append('types', 'untyped', '{"b": 1,  "a": 1}');
select ledger_append('types', 'text', '{"b": 1,  "a": 1}'::text);
select ledger_append('types', 'varchar', '{"b": 1,  "a": 1}'::varchar);
select ledger_append('types', 'bytea', '{"b": 1,  "a": 1}'::bytea);
select ledger_append('types', 'jsonb', '{"b": 1,  "a": 1}'::jsonb);
-- A json is stored as it is given: with its spaces, its order, its duplicates and its numbers.
select ledger_append('types', 'json', ' {"b": 1.50e1,  "a": "\u00e4", "a": 3e0}
'::json);
select ledger_append('types', 'json array', json_build_array(1, 'x'));
select ledger_append(payload => 'null'::json, context => 'types', key => 'json named', metadata => '{"m": 1}', id => 'j1', received => 41);
select ledger_append(payload => 'null'::json, context => 'types', key => 'json named', id => 'j1') as retried;
select ledger_append_json('types', 'one: json', '{"b": 1.50e1,  "a": 2, "a": 3e0}');
select ledger_append_text('types', 'one: text', '{"b": 1,  "a": "é"}');
select ledger_append_bytes('types', 'one: bytes', '\x00ff');
select sequence, lamport, key, id, metadata, encode(payload, 'escape') as payload, ledger_text(payload) as text from ledger_get('types') order by sequence;
select * from ledger_check('types');
rollback;

-- Prepared without types, each takes its own.
begin;
prepare untyped as select ledger_append($1, $2, $3);
prepare texts as select ledger_append_text($1, $2, $3);
prepare bytes as select ledger_append_bytes($1, $2, $3);
prepare jsons as select ledger_append_json($1, $2, $3);
select p.name, p.parameter_types from pg_prepared_statements as p order by p.name;
deallocate all;

-- The further arguments and the result are those of ledger_append.
select ledger_append_text('types', 'k', 'x', '{"n": 1}', 99, 't1') as text, ledger_append_bytes('types', 'k', 'x', '{"n": 2}', 199, 'b1') as bytes,
       ledger_append_json('types', 'k', '1', '{"n": 3}', 299, 'j1') as json;
select ledger_append_text('types', 'k', 'x', id => 't1') as text, ledger_append_bytes('types', 'k', 'x', id => 'b1') as bytes,
       ledger_append_json('types', 'k', '1', id => 'j1') as json;
select sequence, lamport, id, metadata, ledger_text(payload) from ledger_get('types');
rollback;

-- What has no function, and what none takes.
create function pg_temp.try(statement text) returns text language plpgsql as $$
begin
    execute statement;
    return 'accepted';
exception when others then
    return sqlstate || ' ' || sqlerrm;
end $$;
select statement, pg_temp.try(statement) from unnest(array[
    $$select ledger_append('types', 'k', 1)$$, $$select ledger_append('types', 'k', array['x'])$$,
    $$select ledger_append_json('types', 'k', '{"a": 1}'::json)$$, $$select ledger_append_json('types', 'k', 'no json')$$,
    $$select ledger_append_text('types', 'k', '\x00'::bytea)$$, $$select ledger_append_bytes('types', 'k', 'x'::text)$$,
    $$select ledger_append_bytes('types', 'k', '{"re": "a\d"}')$$,
    $$select ledger_append_text('types', null, 'x')$$, $$select ledger_append_text('types', 'k', null)$$,
    $$select ledger_append_bytes('types', 'k', null)$$, $$select ledger_append_json('types', 'k', null)$$, $$select ledger_append('types', 'k', null::json)$$,
    -- Arrays of text are no arrays of bytes.
    $$select ledger_append_batch('types', 'k', array['x'])$$, $$select ledger_append_batch('types', 'k', '{x}'::text[])$$,
    $$select ledger_append_rows('types', array['k'], array['x'])$$]) as statement;
set converge_ledger.max_payload_size = 3;
\set VERBOSITY sqlstate
select ledger_append('types', 'k', '"ab"'::json);
select ledger_append_text('types', 'k', 'abcd');
select ledger_append_bytes('types', 'k', 'abcd');
select ledger_append_json('types', 'k', '"ab"');
reset converge_ledger.max_payload_size;
\set VERBOSITY default
-- The escapes of a bytea literal that is sent to a column: nobody can see here what was meant.
begin;
insert into converge_ledger.entries (context_id, key, payload) values ('types', 'escape', '{"re": "a\\d"}'), ('types', 'octal', 'caf\303\251');
select key, ledger_text(payload) from ledger_get('types');
rollback;
