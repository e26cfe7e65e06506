-- A few thousand odd JSON objects, hand-picked and random: each leaf that is stored is the leaf over what
-- PostgreSQL prints of it. The random ones come from a fixed seed.

\getenv source PG_ABS_SRCDIR
\set oracle :source '/oracle/format_1.sql'
\set ECHO none
\i :oracle
\set ECHO all
begin;
create temp table sample (json jsonb);
insert into sample
select ('{"value": ' || value || '}')::jsonb
  from unnest(array[
    -- Numbers.
    '0', '-0', '0.0', '-0.0', '-0.00', '1', '-1', '1e2', '1E+2', '1.50e1', '1.5e-3', '0.000', '100e-2', '1e-10',
    '123456789012345678901234567890.10', '0.1', '1.10', '1e100', '1e-100', '9007199254740993', '-1.0e0',
    '3.14159265358979323846264338327950288419716939937510', '1e1000', '12345678901234567890e-20', '0e5', '0e-5',
    -- Strings.
    '""', '" "', '"\""', '"\\"', '"\/"', '"/"', '"\b\f\n\r\t"', '"\u0001\u001f\u0020"', '"\u007f"', '"\u0080\u009f"',
    '"\u00e4"', '"ä"', '"e\u0301"', '"\ud83d\ude42"', '"🙂"', '"\u2028\u2029"', '"\ufeff\uffff"', '"a\u000bb"',
    '"<script>&amp;"', '"''"', '"\\u0041"', '"\\\\n"', '"null"', '"1"',
    -- Everything else, nested and empty.
    'null', 'true', 'false', '[]', '{}', '[[]]', '[{}]', '{"a": []}', '{"a": {}}', '[[], {}, [[]], "", null]',
    '[1, [2, [3, [4, [5]]]]]', '[null]', '[true, false]', '[1, "1", 1.0, [1], {"1": 1}]',
    '{"": ""}', '{"": {"": {"": {}}}}', '{"a": [{"b": [{"c": [1, {"d": 2}, [3]]}]}, {}], "z": null}',
    '{"b": 1, "a": 2, "aa": 3, "ab": 4, "": 5, "B": 6, "ä": 7, "Z": 8, "🙂": 9}',
    '{"a": 1, "a": [2], "a": {"a": 3, "a": 4}}', '{"a\nb": 1, "a\"b": 2, "a\\b": 3, "\u0001": 4}',
    '[[1, 2], [3, 4]]', '[{"a": 1}, {"a": 2}]', '[["x", ["y"]], "z"]', '[{"a": [1]}, [{"b": 2}], 3]'
  ]) as value;

-- Random trees: a value of the given depth.
select setseed(0.5);
create function pg_temp.odd(depth int) returns text language plpgsql as $$
declare
    kind int := floor(random() * case when depth > 0 then 9 else 6 end);
begin
    return case kind
        when 0 then (array['null', 'true', 'false'])[1 + floor(random() * 3)]
        when 1 then floor(random() * 2000 - 1000)::int::text
        when 2 then (floor(random() * 2000 - 1000)::int || '.' || repeat('0', floor(random() * 3)::int)
                     || floor(random() * 1000)::int || 'e' || floor(random() * 40 - 20)::int)
        when 3 then to_json(chr(1 + floor(random() * 300)::int) || chr(32 + floor(random() * 90)::int))::text
        when 4 then to_json(chr(65536 + floor(random() * 5000)::int) || repeat('"\', floor(random() * 3)::int))::text
        when 5 then (array['""', '[]', '{}', '[[]]', '[{}]'])[1 + floor(random() * 5)]
        when 6 then '[' || coalesce((select string_agg(pg_temp.odd(depth - 1), ',')
                                       from generate_series(1, floor(random() * 4)::int)), '') || ']'
        else '{' || coalesce((select string_agg(to_json(md5(random()::text || i)::varchar(4)
                                                        || chr(1 + floor(random() * 300)::int))::text
                                                || ':' || pg_temp.odd(depth - 1), ',')
                                from generate_series(1, floor(random() * 5)::int) as i), '') || '}'
    end;
end $$;
insert into sample
select ('{"value": ' || pg_temp.odd(4) || ', "another": ' || pg_temp.odd(2) || '}')::jsonb
  from generate_series(1, 3000);

insert into converge_ledger.entries (context_id, payload, metadata) select 'sample', 'x', json from sample;
select count(*) > 3070 as appended, count(*) filter (where leaf_hash <> pg_temp.leaf(e)) as wrong_leaves,
       count(distinct metadata::text) > 2000 as varied, max(length(metadata::text)) > 300 as some_are_large
  from converge_ledger.entries as e where context_id = 'sample';
-- What a wrong one would be.
select metadata::text from converge_ledger.entries as e
 where context_id = 'sample' and leaf_hash <> pg_temp.leaf(e) order by length(metadata::text) limit 5;
select * from ledger_check('sample');

-- A payload given as jsonb is its text, too.
select count(*) filter (where ledger_append('sample payload', '', json) is null) as none from sample;
select count(*) as wrong_payloads
  from (select row_number() over () as n, json from sample) as s
  join converge_ledger.entries as e on e.context_id = 'sample payload' and e.sequence = s.n
 where ledger_text(e.payload) <> s.json::text;
rollback;
