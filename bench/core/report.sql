-- What criterion measured, and its share of what the processor can do.

create view bench.rung as
    select benchmark ->> 'group_id' as subject, benchmark ->> 'function_id' as rung,
           (estimates #>> '{median,point_estimate}')::float8 as value,
           (estimates #>> '{median,confidence_interval,lower_bound}')::float8 as lower,
           (estimates #>> '{median,confidence_interval,upper_bound}')::float8 as upper
      from bench.criterion;

select rung.subject, rung.rung as "measured", bench.rounded(rung.value) as "ns",
       round((own_limit.value / rung.value * 100)::numeric) as "% of the limit"
  from bench.rung
  join bench.rung as own_limit on own_limit.subject = rung.subject and own_limit.rung ~ '^limit'
 order by rung.subject, rung.value desc;

select bench.judge('6', format('%s: speed of %s : SHA-256 of the same blocks as one stream', rung.subject, rung.rung),
                   (own_limit.value / rung.value, own_limit.lower / rung.upper, own_limit.upper / rung.lower))
  from bench.rung
  join bench.rung as own_limit on own_limit.subject = rung.subject and own_limit.rung ~ '^limit'
 where rung.rung in ('leaf_hash', 'node', 'frontier')
 order by rung.subject \g /dev/null
