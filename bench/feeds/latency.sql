-- Percentiles of each run; the measurement is their median.

insert into bench.measurement
select 'p' || percent, variant, repetition,
       percentile_cont(percent / 100.0) within group (order by milliseconds)
  from bench.latency cross join unnest(array[50, 99]) as percent
 group by percent, variant, repetition;

select case variant when 'worker' then 'by the worker' else 'at commit' end as announced,
       bench.rounded(half.value) as "p50", bench.rounded(most.value) as "p99",
       bench.rounded((select max(milliseconds) from bench.latency where latency.variant = half.variant))
           as "longest"
  from bench.median as half join bench.median as most using (variant)
 where half.subject = 'p50' and most.subject = 'p99'
 order by variant desc;

select bench.judge('10', format('from append to receipt at 1,000 appends/s, %s, announced by the worker', subject),
                   (value, lower, upper), '≤', target, ' ms')
  from (values ('p50', 2), ('p99', 20)) as wanted (subject, target) join bench.median using (subject)
 where variant = 'worker'
 order by target \g /dev/null
select bench.not_measured('10', 'from append to receipt at 1,000 appends/s', 'the writer could not keep the rate')
 where not exists (select from bench.latency where variant = 'worker') \g /dev/null
