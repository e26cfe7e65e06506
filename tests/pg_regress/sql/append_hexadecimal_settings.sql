-- A prepared literal that begins with \x is recognised under whatever setting it is executed, and no warning is given again.

begin;
\set ON_ERROR_ROLLBACK on
\set VERBOSITY terse
set standard_conforming_strings = on;
prepare conforming_literal as select ledger_append('hexadecimal settings', 'literal', '\xdead');
prepare conforming_text as select ledger_append('hexadecimal settings', 'text', '\xdead'::text);
prepare conforming_quote as select ledger_append('hexadecimal settings', 'quote\', '\xdead'::text);
set standard_conforming_strings = off;
prepare escaping_literal as select ledger_append('hexadecimal settings', 'literal', '\\xdead');
prepare escaping_text as select ledger_append('hexadecimal settings', 'text', '\\xdead'::text);
prepare escaping_quote as select ledger_append('hexadecimal settings', 'quote\'', '\\xdead'::text);
execute conforming_literal;
execute conforming_text;
execute conforming_quote;
execute escaping_literal;
execute escaping_text;
execute escaping_quote;
set standard_conforming_strings = on;
execute conforming_literal;
execute conforming_text;
execute conforming_quote;
execute escaping_literal;
execute escaping_text;
execute escaping_quote;
show standard_conforming_strings;
show escape_string_warning;
reset standard_conforming_strings;
deallocate all;
select key, ledger_text(payload), count(*) from ledger_get('hexadecimal settings') group by 1, 2 order by 1;
rollback;
