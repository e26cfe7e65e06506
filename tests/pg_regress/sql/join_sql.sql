-- ledger_join_sql prints the statements by which a node joins others. That they do it is tested on real servers (tests/cluster).

\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
-- A read replica.
select * from ledger_join_sql('{"a": "host=a.example dbname=ledger"}', 'replica');
-- A fourth node of a mesh; passwords and names are quoted, and long or unusual names do not clash.
select * from ledger_join_sql(
    jsonb_build_object('a', 'host=a.example', 'b', E'host=b.example password=''it''''s \\\\''', 'Node "c"', 'host=c.example',
                       repeat('n', 63), 'host=n.example'),
    'd', 'host=d.example', reader => 'replica');
-- Through one peer, as a read replica and as a node of the mesh.
select * from ledger_join_sql('{"b": "host=b.example", "a": "host=a.example"}', 'replica', through => 'b');
select * from ledger_join_sql('{"a": "host=a.example", "b": "host=b.example", "c": "host=c.example"}', 'd',
    'host=d.example', 'a', 'entries of "ours"', 'replica');

-- Names of slots: the same characters in, the same out.
select converge_ledger.subscription_name('a', 'b'), converge_ledger.subscription_name('A', 'b'), converge_ledger.subscription_name('ä', 'b'),
       octet_length(converge_ledger.subscription_name(repeat('a', 63), repeat('b', 63))) as longest,
       octet_length(converge_ledger.subscription_name(repeat('ö', 31), repeat('ü', 31))) as longest;
select bool_and(name ~ '^[a-z0-9_]{1,63}$') as valid, count(distinct name) = count(*) as different
  from (values ('a', 'b'), ('b', 'a'), ('A', 'b'), ('a-', 'b'), ('a_', 'b'), (repeat('a', 63), 'b'), (repeat('a', 62), 'b')) as v (subscriber, publisher),
       converge_ledger.subscription_name(subscriber, publisher) as name;

-- Refused.
\set VERBOSITY default
select ledger_join_sql('[]', 'd');
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY terse
create function pg_temp.try(statement text) returns text language plpgsql as $$
begin
    execute statement;
    return 'accepted';
exception when others then
    return sqlstate || ' ' || sqlerrm;
end $$;
select statement, pg_temp.try(statement) from unnest(array[
    $$select ledger_join_sql('{}', 'd')$$, $$select ledger_join_sql('{"a": 1}', 'd')$$, $$select ledger_join_sql('{"a": null}', 'd')$$,
    $$select ledger_join_sql('"a"', 'd')$$, $$select ledger_join_sql(null, 'd')$$, $$select ledger_join_sql('{"a": "x"}', null)$$,
    $$select ledger_join_sql('{"a": "x"}', 'd', publication => null)$$, $$select ledger_join_sql('{"a": "x"}', 'a')$$,
    $$select ledger_join_sql('{"a": "x"}', '')$$, $$select ledger_join_sql('{"": "x"}', 'd')$$,
    $$select ledger_join_sql('{"a": "x"}', 'd', through => 'b')$$]) as statement;
