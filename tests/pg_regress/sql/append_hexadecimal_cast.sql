-- Which literals that begin with \x are refused as a payload: those without a type, however they are written. A cast of any form
-- says what is meant.

begin;
\set VERBOSITY sqlstate
savepoint s;
select ledger_append('hexadecimal cast', 'facts', '\x00');
rollback to s;
select ledger_append('hexadecimal cast', 'facts', payload => '\x00');
rollback to s;
select ledger_append('hexadecimal cast', 'facts', payload := '\x00');
rollback to s;
select ledger_append(payload => '\x00', context => 'hexadecimal cast', key => 'facts');
rollback to s;
select ledger_append('hexadecimal cast', 'facts', E'\\x00');
rollback to s;
select ledger_append('hexadecimal cast', 'facts', e'\\x00');
rollback to s;
select ledger_append('hexadecimal cast', 'facts', '\x00', '{}', null, 'an id');
rollback to s;
select 'ä€🙂', ledger_append('hexadecimal cast', 'facts', '\x00');
rollback to s;
select ledger_append('hexadecimal cast', 'facts', '\xit''s');
rollback to s;
prepare literal as select ledger_append('hexadecimal cast', 'facts', '\x00');
execute literal;
rollback to s;
set local plan_cache_mode = force_generic_plan;
execute literal;
rollback to s;
select 1 \; select ledger_append('hexadecimal cast', 'facts', '\x00');
rollback to s;
\set VERBOSITY default
select count(*) as appended from converge_ledger.entries where context_id = 'hexadecimal cast';

select ledger_append('hexadecimal cast', 'bytes', '\x00'::bytea);
select ledger_append('hexadecimal cast', 'bytes', bytea '\x00');
select ledger_append('hexadecimal cast', 'bytes', cast('\x00' as bytea));
select ledger_append('hexadecimal cast', 'text', '\x00'::text);
select ledger_append('hexadecimal cast', 'text', ('\x00')::text);
select ledger_append('hexadecimal cast', 'text', cast('\x00' as text));
select ledger_append('hexadecimal cast', 'text', cast( /* as it is */ '\x00' as text));
select ledger_append('hexadecimal cast', 'text', text '\x00');
select ledger_append('hexadecimal cast', 'text', text E'\\x00');
select ledger_append('hexadecimal cast', 'text', '\x00'::varchar);
select ledger_append('hexadecimal cast', 'text', '\x' || '00');
select ledger_append('hexadecimal cast', 'text', coalesce('\x00', 'x'));
select ledger_append('hexadecimal cast', 'text', lower('\X00'));
select ledger_append(payload => '\x00'::text, context => 'hexadecimal cast', key => 'text');
select key, ledger_text(payload), payload, count(*) from ledger_get('hexadecimal cast') group by 1, 2, 3 order by 1;
rollback;
