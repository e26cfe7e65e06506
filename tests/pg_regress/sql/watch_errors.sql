-- What ledger_watch and ledger_wait refuse.

\set VERBOSITY default
select * from ledger_watch('');
\echo :LAST_ERROR_SQLSTATE
select * from ledger_watch(null);
\echo :LAST_ERROR_SQLSTATE
select * from ledger_watch('c', null);
\echo :LAST_ERROR_SQLSTATE
select * from ledger_watch('c', -1);
\echo :LAST_ERROR_SQLSTATE
select * from ledger_watch('c', max_entries => 0);
\echo :LAST_ERROR_SQLSTATE
select * from ledger_watch('c', max_entries => -1);
\echo :LAST_ERROR_SQLSTATE
select * from ledger_watch('c', timeout => null);
\echo :LAST_ERROR_SQLSTATE
select * from ledger_watch('c', timeout => '-1 ms');
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY sqlstate
select * from ledger_watch('c', timeout => '1 month');
select * from ledger_watch('c', timeout => '1 day 1 us');
select * from ledger_watch('c', timeout => '-1 day +1 hour');
select * from ledger_watch('c', timeout => '178000000 years');
select * from ledger_watch('c', timeout => make_interval(days => 2147483647));
select * from ledger_watch('c', timeout => make_interval(days => -2147483648));
select * from ledger_watch('c', -9223372036854775808);
select * from ledger_watch('c', 0, 1, null, null::text);
select * from ledger_watch('c', 0, 1, null, 'soon');
select * from ledger_watch('c', 0, 1, null, '1 month');
select * from ledger_watch('c', 0, 1, null, '-1 s');
select * from ledger_watch('c', -1, 1, null, '1 s');
-- The order of before: a key is no number of entries.
select * from ledger_watch('c', 0, 'facts', 1);
-- Not in a place that takes no set.
select count(*) from converge_ledger.entries where sequence = ledger_watch('c');

call ledger_wait('');
call ledger_wait('c', null);
call ledger_wait('c', -1);
call ledger_wait('c', timeout => null);
call ledger_wait('c', timeout => '1 year');
call ledger_wait('c', timeout => '-1 s');
\set VERBOSITY default
begin;
call ledger_wait('c');
\echo :LAST_ERROR_SQLSTATE
rollback;
create function waits() returns void language plpgsql as $$ declare last bigint; begin call ledger_wait('c', 0, '1 s', last); end $$;
\set VERBOSITY sqlstate
select waits();
drop function waits();

-- Without the grant nothing is told, not even that there is nothing.
create role watch_stranger;
create role watch_reader;
select ledger_grant('watch_reader', 'read');
set role watch_stranger;
select * from ledger_watch('c', timeout => '0');
select * from ledger_watch('c', 0, 1, null, '0');
call ledger_wait('c', timeout => '0');
set role watch_reader;
select * from ledger_watch('c', timeout => '0');
select * from ledger_watch('c', 0, 1, null, '0');
call ledger_wait('c', timeout => '0');
reset role;
-- The grant on the function alone does not let one read.
grant execute on function ledger_watch(text, bigint, integer, text, interval), ledger_watch(text, bigint, integer, text, text) to watch_stranger;
grant execute on procedure ledger_wait to watch_stranger;
set role watch_stranger;
select * from ledger_watch('c', timeout => '0');
select * from ledger_watch('c', 0, 1, null, '0');
call ledger_wait('c', timeout => '0');
reset role;
drop owned by watch_reader, watch_stranger;
drop role watch_reader, watch_stranger;
