-- Medians and ratios of a replica, against the plain table. Variables: copied, contexts, transactions, seconds, turns.

create temporary table latency (variant text, repetition integer, milliseconds float8);
\copy latency from program 'cat "$BENCH_RESULTS/latencies"'

insert into bench.measurement
select 'p' || percent, variant, repetition,
       percentile_cont(percent / 100.0) within group (order by milliseconds)
  from latency cross join unnest(array[50, 99]) as percent
 group by percent, variant, repetition;

create function pg_temp.named(variant text) returns text language sql as $$
    select case variant when 'ledger' then 'the ledger' when 'plain' then 'plain table' else 'none' end
$$;

\echo
\echo 'Rows per second from' :copied 'entries in' :contexts 'contexts,' :turns 'turns, and transactions per second from' :transactions 'of one row'
\echo
select case subject when 'copied' then 'initial copy, until it is there'
                    when 'readable' then 'initial copy, until all is judged and readable'
                    else 'apply of transactions of one row' end as what,
       pg_temp.named(variant) as "into", round(median.value) as "per second", bench.spread(ratio) as "of plain"
  from bench.median join bench.ratio using (subject, variant)
 where subject in ('copied', 'readable', 'applied') and ratio.base = 'plain'
 order by array_position(array['copied', 'readable', 'applied'], subject), variant desc;

\echo
\echo 'Milliseconds of appends on the replica, 200 per second, to a context of its own'
\echo
select case half.variant when 'idle' then 'idle' else 'beside a copy of ' || pg_temp.named(half.variant) end as "replica",
       bench.rounded(half.value) as "p50", bench.rounded(most.value) as "p99",
       (select bench.rounded(max(milliseconds)) from latency where latency.variant = half.variant) as longest,
       bench.spread(ratio) as "p99 of idle"
  from bench.median as half
  join bench.median as most using (variant)
  join bench.ratio on ratio.variant = half.variant and ratio.subject = 'p99' and ratio.base = 'idle'
 where half.subject = 'p50' and most.subject = 'p99'
 order by array_position(array['idle', 'plain', 'ledger'], half.variant);

\echo
\echo 'A replica beside' :seconds 's of appends by 8 clients at the origin, synchronous_commit on'
\echo
select pg_temp.named(appended.variant) as "into", round(appended.value) as "appended per second",
       round(bytes.value) as "bytes behind, a second before the end", bench.rounded(behind.value) as "seconds to catch up"
  from bench.median as appended
  join bench.median as bytes using (variant)
  join bench.median as behind using (variant)
 where appended.subject = 'appended per second' and bytes.subject = 'bytes behind' and behind.subject = 'seconds to catch up'
 order by variant desc;

select bench.assert('every row was copied', bool_and(value = :copied)) from bench.measurement
 where subject = 'rows copied' \g /dev/null
select bench.assert('both have applied as much', count(*) = 2) from bench.measurement
 where subject = 'rows streamed' and value >= :transactions \g /dev/null

select bench.judge('4.8', what, (value, lower, upper), '≥', target)
  from (values ('applied', 'replica: apply of transactions of one row : plain table', 0.6),
               ('copied', 'replica: initial copy : plain table', 0.7)) as wanted (subject, what, target)
  join bench.ratio using (subject)
 where variant = 'ledger' and base = 'plain'
 order by target \g /dev/null
select bench.judge('4.8', 'replica: initial copy until all is readable : plain table', (value, lower, upper))
  from bench.ratio where subject = 'readable' and variant = 'ledger' and base = 'plain' \g /dev/null
select bench.judge('4.8', 'replica: seconds to catch up after ' || :seconds || ' s of 8 writers', (value, lower, upper),
                   '≤', 1, ' s')
  from bench.median where subject = 'seconds to catch up' and variant = 'ledger' \g /dev/null
select bench.judge('4.8', format('replica: p99 of local appends beside a copy of %s : idle', pg_temp.named(variant)),
                   (value, lower, upper), case variant when 'ledger' then '≤' end, case variant when 'ledger' then 2 end)
  from bench.ratio where subject = 'p99' and base = 'idle' and variant <> 'idle' order by variant \g /dev/null
select bench.judge('4.8', 'replica: p99 of local appends beside a copy of the ledger : of a plain table', (value, lower, upper))
  from bench.ratio where subject = 'p99' and base = 'plain' and variant = 'ledger' \g /dev/null
