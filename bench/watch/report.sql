-- Medians and ratios of the appends beside waiting sessions, and whether what was measured is sound.

with name (variant, statement, number) as (
    values ('alone', 'nobody waits', 1),
           ('waiting', '200 wait for other contexts', 2),
           ('following', '200 follow the ends of these contexts', 3),
           ('reading', '200 read all entries of these contexts', 4)
)
select alone.subject as "synchronous", name.statement, round(median.value) as "per second",
       bench.spread(alone) as "of alone",
       case when name.number in (2, 3) then bench.at_least(alone, 0.95) else '' end as "target"
  from bench.ratio as alone
  join bench.median using (subject, variant)
  join name using (variant)
 where alone.base = 'alone'
 order by alone.subject desc, name.number;

select bench.assert('ledger_check finds no fault', count(*) = 0) from ledger_check() \g /dev/null
