-- A trigger that appends a text with \x asks for each row of the statement what stands in its text. The text is read once:
-- read for each of 20,000 rows, it would take minutes.

begin;
create temp table given (n int);
create function pg_temp.note() returns trigger language plpgsql as $$
begin
    perform ledger_append('hexadecimal long', 'trigger', '\xdead'::text);
    return new;
end $$;
create trigger note before insert on given for each row execute function pg_temp.note();
set local statement_timeout = '30 s';
\set ECHO none
select format('insert into given values %s', string_agg(format('(%s)', n), ', ')) from generate_series(1, 20000) as n \gexec
select format('select count(v) from (values %s) as v (v)', string_agg(format('(ledger_append(''hexadecimal long'', ''call'', ''\xdead''::text))', n), ', '))
  from generate_series(1, 5000) as n \gexec
\set ECHO all
-- A statement after it is read anew.
savepoint s;
select ledger_append('hexadecimal long', 'literal', '\xdead');
rollback to s;
select key, count(*) from ledger_get('hexadecimal long') group by key order by key;
rollback;
