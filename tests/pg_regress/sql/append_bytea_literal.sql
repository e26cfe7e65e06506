-- A text payload that as a whole is a bytea literal in hex form is refused, however it comes: drivers send bytes so, and it would
-- be stored as its digits for ever. Every other text is stored as it is.

create function pg_temp.try(statement text) returns text language plpgsql as $$
begin
    execute statement;
    return 'accepted';
exception when others then
    return sqlstate || ' ' || sqlerrm;
end $$;

\set VERBOSITY default
select ledger_append('literal', 'facts', '\xdeadbeef');
\echo :LAST_ERROR_SQLSTATE

-- What is such a literal, and what is not.
begin;
select left(payload, 30) as payload, pg_temp.try(format('select ledger_append(%L, %L, %L)', 'literal', 'facts', payload)) as answer from unnest(array[
    '\x', '\x00', '\xDEADbeef', '\x0123456789abcdefABCDEF', '\x' || repeat('00', 5000),
    '\x0', '\xdeadbee', '\xg0', '\xampp\htdocs', '\x00 ', ' \x00', '\x00 01', E'\\x00\n', E'\n\\x00', '\X00', '\\x00', 'x00', '\', '', '\x00é',
    'a\x00', '\x٠٠', '\x０0']) with ordinality as p (payload, place) order by place;
select sequence, ledger_text(payload) from ledger_get('literal');
-- Not looked at where it is no payload.
select ledger_append('\x00', '\x00', 'plain', id => '\x00');
rollback;

-- However it is written.
select statement, pg_temp.try(statement) from unnest(array[
    $$select ledger_append('literal', 'facts', payload => '\x00')$$,
    $$select ledger_append(payload => '\x00', context => 'literal', key => 'facts')$$,
    $$select ledger_append('literal', 'facts', E'\\x00')$$,
    $$select ledger_append('literal', 'facts', $q$\x00$q$)$$,
    $$select ledger_append('literal', 'facts', U&'\005cx00')$$,
    $$select ledger_append('literal', 'facts', '\x00', '{}', null, 'an id')$$,
    $$select ledger_append('literal', 'facts', '\x00'::text)$$,
    $$select ledger_append('literal', 'facts', cast('\x00' as varchar))$$,
    $$select ledger_append('literal', 'facts', '\x00'::char(4))$$,
    $$select ledger_append('literal', 'facts', '\x00'::name)$$,
    $$select ledger_append('literal', 'facts', '\x' || '00')$$,
    $$select ledger_append('literal', 'facts', given) from (values ('x'), ('\x00')) as v (given)$$,
    $$select ledger_append('literal', 'facts', '\x00'::bytea::text)$$,
    $s$do $q$ begin perform ledger_append('literal', 'facts', '\x00'); end $q$$s$,
    $s$do $q$ declare given text := '\x00'::bytea; begin perform ledger_append('literal', 'facts', given); end $q$$s$,
    $s$do $q$ begin execute 'select ledger_append($1, $2, $3)' using 'literal', 'facts', '\x00'::text; end $q$$s$]) as statement;
-- A statement that was prepared without types takes its payload as text, bytes too. In either kind of plan.
prepare untyped as select ledger_append($1, $2, $3);
\set VERBOSITY sqlstate
execute untyped('literal', 'facts', '\x00');
execute untyped('literal', 'facts', '\x00'::bytea);
set plan_cache_mode = force_generic_plan;
execute untyped('literal', 'facts', '\x00'::bytea);
reset plan_cache_mode;
deallocate untyped;
-- In functions, a default and a trigger of somebody else's table.
create function pg_temp.in_sql(given text) returns bigint language sql as $$ select ledger_append('literal', 'facts', given) $$;
select pg_temp.in_sql('\x00');
create temp table noted (n int, note text default '\x00', appended bigint);
create function pg_temp.note() returns trigger language plpgsql as $$
begin
    new.appended := ledger_append('literal', 'facts', new.note);
    return new;
end $$;
create trigger note before insert on noted for each row execute function pg_temp.note();
insert into noted (n) values (1);
select count(*) as appended from converge_ledger.entries where context_id = 'literal';

-- Whoever says what is meant is understood, by literal, parameter and variable.
\set VERBOSITY default
begin;
insert into noted (n, note) values (1, '\xampp');
select ledger_append('literal', 'bytes', '\x00'::bytea);
select ledger_append('literal', 'bytes', bytea '\x00');
select ledger_append_bytes('literal', 'bytes', '\x00');
select ledger_append_text('literal', 'text', '\x00');
select ledger_append('literal', 'text', convert_to('\x00', 'UTF8'));
prepare bytes as select ledger_append_bytes($1, $2, $3);
execute bytes('literal', 'bytes', '\x00');
execute bytes('literal', 'bytes', '\x00'::bytea);
prepare texts as select ledger_append_text($1, $2, $3);
execute texts('literal', 'text', '\x00');
prepare typed(bytea) as select ledger_append('literal', 'bytes', $1);
execute typed('\x00');
deallocate all;
do $$
declare given text := '\x00'; data bytea := '\x00';
begin
    perform ledger_append('literal', 'bytes', data);
    perform ledger_append_text('literal', 'text', given);
end $$;
select key, payload, ledger_text(payload), count(*) from ledger_get('literal') group by 1, 2, 3 order by 1, 2;
rollback;
