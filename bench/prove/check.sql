-- ledger_check of everything against a sequential scan that hashes payloads. Variables: turns, large.

-- A sequential scan in one process, like the check.
set max_parallel_workers_per_gather = 0;

create procedure bench.time_check(repetition integer) language plpgsql as $$
declare
    started timestamptz;
    found bigint;
begin
    started := clock_timestamp();
    select count(*) into found from converge_ledger.entries where sha256(payload) is not null;
    insert into bench.measurement
    values ('check', 'scan', repetition, extract(epoch from clock_timestamp() - started));
    started := clock_timestamp();
    select count(*) into found from ledger_check();
    insert into bench.measurement
    values ('check', 'ledger_check', repetition, extract(epoch from clock_timestamp() - started));
    perform bench.assert('ledger_check finds no fault', found = 0);
end
$$;
select format('call bench.time_check(%s)', turn) from generate_series(1, :turns) turn \gexec

\echo
\echo ledger_check of :large + 10,000 entries, median of :turns turns
\echo
select case median.variant when 'scan' then 'sequential scan that computes sha256(payload)'
            else 'ledger_check()' end as statement,
       round(median.value::numeric, 2) as seconds,
       round((median.value / (select sum(size) from bench.context) * 1e6)::numeric, 2) as "µs per entry",
       bench.spread(ratio) as "of the scan"
  from bench.median
  join bench.ratio on (ratio.subject, ratio.variant, ratio.base) = (median.subject, median.variant, 'scan')
 where median.subject = 'check'
 order by median.variant desc;
