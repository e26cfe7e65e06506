-- A payload that begins with \x in a variable, a parameter or a column has a type: taken in every plan mode, in PL/pgSQL, in an
-- SQL function, a list of values, a default and a trigger.

begin;
prepare by_text(text) as select ledger_append('hexadecimal variable', 'parameter', $1);
prepare by_name(text) as select ledger_append(key => 'parameter', payload => $1, context => 'hexadecimal variable');
set local plan_cache_mode = force_generic_plan;
execute by_text('\x01');
execute by_name('\x02');
set local plan_cache_mode = force_custom_plan;
execute by_text('\x03');
execute by_name('\x04');
reset plan_cache_mode;
execute by_text('\x05');
execute by_text(E'\\x06');
do $$
declare
    given text := '\x07';
    fixed constant text := '\x08';
begin
    perform ledger_append('hexadecimal variable', 'plpgsql', given);
    perform ledger_append('hexadecimal variable', 'plpgsql', fixed);
    for i in 1 .. 8 loop
        given := '\x09';
        perform ledger_append('hexadecimal variable', 'plpgsql', given);
    end loop;
    execute 'select ledger_append($1, $2, $3)' using 'hexadecimal variable', 'plpgsql', '\x0a'::text;
end $$;
create function pg_temp.in_sql(given text) returns bigint language sql as $$ select ledger_append('hexadecimal variable', 'sql', given) $$;
create function pg_temp.inlined(given text) returns bigint language sql as $$ select ledger_append('hexadecimal variable', 'sql', $1) $$;
select pg_temp.in_sql('\x0b');
select pg_temp.inlined('\x0c'), pg_temp.inlined(given => '\x0d');
select ledger_append('hexadecimal variable', 'column', given) from (values ('\x0e'), ('\x0f')) as v (given);
select ledger_append('hexadecimal variable', 'column', given) from (select '\x10' as given) as v;
select ledger_append('hexadecimal variable', 'column', given) from (values ('\x14')) as v (given);
select ledger_append('hexadecimal variable', 'column', given) from (values ('a', '\x15')) as v (a, given);
with given as (select '\x11'::text as it) select ledger_append('hexadecimal variable', 'column', it) from given;
create temp table kept (given text default '\x12', sequence bigint);
create function pg_temp.keep() returns trigger language plpgsql as $$
begin
    new.sequence := ledger_append('hexadecimal variable', 'trigger', new.given);
    return new;
end $$;
create trigger keep before insert on kept for each row execute function pg_temp.keep();
insert into kept default values returning given;
insert into kept values ('\x13') returning given;
select key, string_agg(ledger_text(payload), ' ' order by sequence) from ledger_get('hexadecimal variable') group by key order by key;
rollback;
