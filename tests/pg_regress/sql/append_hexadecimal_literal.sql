-- A literal payload that begins with \x is refused, because nobody can tell whether bytes or text are
-- meant. A cast says it.

\set VERBOSITY default
select ledger_append('hexadecimal', 'facts', '\xdeadbeef');
\echo :LAST_ERROR_SQLSTATE
select ledger_append('hexadecimal', 'facts', '\x');
\echo :LAST_ERROR_SQLSTATE
select ledger_append(payload => '\xdeadbeef', key => 'facts', context => 'hexadecimal');
\echo :LAST_ERROR_SQLSTATE

begin;
select ledger_append('hexadecimal', 'bytes', '\xdeadbeef'::bytea);
select ledger_append('hexadecimal', 'text', convert_to('\xdeadbeef', 'UTF8'));

-- A column has a type.
select ledger_append('hexadecimal', 'column', given)
  from (values ('\xdeadbeef'::text), ('x')) as v (given);

-- A literal with \x further behind is just text, and so is one with another backslash.
select ledger_append('hexadecimal', 'text', 'a\xdeadbeef');
select ledger_append('hexadecimal', 'text', '\deadbeef');

select sequence, key, encode(payload, 'escape') from ledger_get('hexadecimal');
rollback;
