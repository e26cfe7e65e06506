-- A literal payload that begins with \x is refused however it is quoted, and with a comment beside it.

begin;
\set VERBOSITY sqlstate
savepoint s;
select ledger_append('hexadecimal quoting', 'facts', $$\x00$$);
rollback to s;
select ledger_append('hexadecimal quoting', 'facts', $tag$\x00$tag$);
rollback to s;
select ledger_append('hexadecimal quoting', 'facts', U&'\005cx00');
rollback to s;
select ledger_append('hexadecimal quoting', 'facts', E'\x5cx00');
rollback to s;
select ledger_append('hexadecimal quoting', 'facts', /* bytes? */ '\x00' -- yes
    );
rollback to s;
select ledger_append('hexadecimal quoting', 'facts', '\x00'
    '01');
rollback to s;
-- A quote, a parenthesis or a comment mark elsewhere in the call does not hide it, nor make one of what is none.
select ledger_append('hexadecimal '' ( quoting', 'a)--/*', '\x00');
rollback to s;
select ledger_append('hexadecimal quoting', $$it's ('$$ /* ) ' */, '\x00');
rollback to s;
select "ledger_append"('hexadecimal quoting', lower('(FACTS)'), '\x00');
rollback to s;
select public . ledger_append('hexadecimal quoting', 'facts', '\x00');
rollback to s;
select ledger_append('hexadecimal quoting', ',', ('\x00')::text);
select ledger_append('hexadecimal quoting', 'facts', cast('\x00' /* , */ as text));
select ledger_append('hexadecimal quoting', '''\x00''', 'plain');
select sequence, key, ledger_text(payload) from ledger_get('hexadecimal quoting');
rollback;
