-- ledger_watch gives what is after the position at once, and waits only where there is nothing.

select count(*) from (select ledger_append('watched', case when i % 3 = 0 then 'third' else 'other' end, i::text) from generate_series(1, 10) as i) as appended;
select sequence, key, ledger_text(payload) from ledger_watch('watched', 7);
select sequence from ledger_watch('watched', max_entries => 2);
select sequence, key from ledger_watch('watched', key => 'third');
select sequence, key from ledger_watch('watched', 3, 1, 'third');
-- Whole rows, as ledger_get gives them.
select count(*) as rows, bool_and(watched = got) as same
  from ledger_watch('watched', 4) as watched join ledger_get('watched', 4) as got using (sequence);
select count(*) from ledger_watch('watched', 0, null, null, interval '1 day');
-- The timeout as text: what an untyped parameter is taken for.
select sequence, key from ledger_watch('watched', 3, 1, 'third', '1 s');
select sequence, key from ledger_watch('watched', 3, 1, 'third', '1 s'::text);
prepare watching as select sequence, key from ledger_watch($1, $2, $3, $4, $5);
select parameter_types from pg_prepared_statements where name = 'watching';
execute watching('watched', 3, 1, null, '00:00:01');
execute watching('watched', 10, 1, null, '0');
deallocate watching;

-- Nothing there: looks once, or waits for the time.
select count(*) from ledger_watch('watched', 10, timeout => '0');
select count(*) from ledger_watch('nobody appends', timeout => '0');
select count(*), clock_timestamp() - statement_timestamp() between '100 ms' and '30 s' as waited from ledger_watch('watched', 10, timeout => '100 ms');
select count(*), clock_timestamp() - statement_timestamp() between '100 ms' and '30 s' as waited from ledger_watch('watched', key => 'no such key', timeout => '0.1 s');
-- Beyond the end there is nothing until the end is there.
select count(*) from ledger_watch('watched', 1000, timeout => '10 ms');

-- What the transaction itself has appended counts.
begin;
select ledger_append('watched', 'own', 'x');
select sequence, key from ledger_watch('watched', 10);
savepoint s;
select ledger_append('watched', 'undone', 'x');
rollback to s;
select count(*) from ledger_watch('watched', 11, timeout => '10 ms');
rollback;
select count(*) from ledger_watch('watched', 10, timeout => '10 ms');

-- A snapshot that is fixed shows nothing new, so waiting under one is refused; what is there is given.
begin isolation level repeatable read;
select count(*) from ledger_watch('watched');
select count(*) from ledger_watch('watched', 10, timeout => '0');
\set VERBOSITY default
select count(*) from ledger_watch('watched', 10, timeout => '1 s');
\echo :LAST_ERROR_SQLSTATE
rollback;
begin isolation level serializable;
select count(*) from ledger_watch('watched', key => 'no such key');
\echo :LAST_ERROR_SQLSTATE
rollback;

-- In functions, joins and cursors.
begin;
declare watching cursor for select sequence from ledger_watch('watched', 5);
fetch 2 from watching;
rollback;
select position, array_agg(sequence order by sequence)
  from unnest(array[6, 8]) as position, ledger_watch('watched', position, max_entries => 2) group by position order by position;
set statement_timeout = '100ms';
do $$
begin
    perform ledger_watch('watched', 10);
exception when query_canceled then
    raise notice 'ended by statement_timeout';
    -- The wait that was ended leaves nothing behind.
    raise notice '%', (select count(*) from ledger_watch('watched', 10, timeout => '10 ms'));
    raise notice '%', (select count(*) from ledger_watch('watched', 9));
end
$$;
reset statement_timeout;
