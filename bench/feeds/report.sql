-- Medians and ratios of writers beside listeners.

create view bench.turn as
    select subject, split_part(subject, ' ', 1) as synchronous_commit,
           split_part(subject, ' ', 2)::integer as clients,
           split_part(subject, ' ', 3)::integer as listeners
      from bench.measurement
     group by subject;

select synchronous_commit as "synchronous", clients,
       listeners || case listeners when 1000 then ', idle' else '' end as listeners, name as announced,
       round(median.value) as "per second", bench.spread(ratio) as "of not announced"
  from bench.turn
  join bench.median using (subject)
  join bench.ratio using (subject, variant)
  join (values ('off', 'not', 1), ('worker', 'by the worker', 2), ('commit', 'at commit', 3))
       as name (variant, name, number) using (variant)
 where ratio.base = 'off'
 order by synchronous_commit desc, clients, turn.listeners, name.number;

select bench.judge('10', format('writers announced by the worker : not announced, clients %s, %s listeners, synchronous_commit %s',
                                clients, listeners || case listeners when 1000 then ' idle' else '' end,
                                synchronous_commit),
                   (value, lower, upper), case when listeners < 1000 then '≥' end,
                   case when listeners < 1000 then 0.9 end)
  from bench.turn join bench.ratio using (subject)
 where variant = 'worker' and base = 'off'
 order by listeners = 1000, synchronous_commit desc, clients, listeners \g /dev/null

select bench.assert('ledger_check finds no fault', count(*) = 0) from ledger_check() \g /dev/null
