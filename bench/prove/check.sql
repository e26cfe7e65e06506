-- ledger_check of everything against a sequential scan that hashes payloads. Variables: turns, entries
-- (of the largest context so far).

-- A sequential scan in one process, like the check.
set max_parallel_workers_per_gather = 0;

create or replace procedure bench.time_check(entries bigint, repetition integer) language plpgsql as $$
declare
    subject constant text := format('check of %s', entries);
    started timestamptz;
    found bigint;
begin
    started := clock_timestamp();
    select count(*) into found from converge_ledger.entries where sha256(payload) is not null;
    insert into bench.measurement
    values (subject, 'scan', repetition, extract(epoch from clock_timestamp() - started));
    started := clock_timestamp();
    select count(*) into found from ledger_check();
    insert into bench.measurement
    values (subject, 'ledger_check', repetition, extract(epoch from clock_timestamp() - started));
    perform bench.assert('ledger_check finds no fault', found = 0);
end
$$;
select format('call bench.time_check(%s, %s)', :entries, turn) from generate_series(1, :turns) turn \gexec
