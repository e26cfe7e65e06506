-- Medians and ratios of the single-row append, and whether what was measured is sound.

with turn as (
    select subject, split_part(subject, ' ', 1) as synchronous_commit,
           split_part(subject, ' ', 2)::integer as clients
      from bench.measurement
     group by subject
), name (variant, statement, number, judged) as (
    values ('plain', 'plain table', 1, false),
           ('insert', 'INSERT, not announced', 2, true),
           ('function', 'ledger_append, not announced', 3, true),
           ('announced', 'ledger_append, announced', 4, false),
           ('chain', 'PL/pgSQL hash chain', 5, false)
)
select turn.synchronous_commit as "synchronous", turn.clients, name.statement,
       round(median.value) as "per second",
       bench.spread(plain) as "of plain",
       case when judged then bench.at_least(plain, 0.75) else '' end as "target",
       bench.spread(chain) as "of chain",
       case when judged then bench.at_least(chain, 1) else '' end as "target"
  from turn
  join bench.median using (subject)
  join name using (variant)
  join bench.ratio as plain on plain.base = 'plain'
   and (plain.subject, plain.variant) = (turn.subject, name.variant)
  join bench.ratio as chain on chain.base = 'chain'
   and (chain.subject, chain.variant) = (turn.subject, name.variant)
 order by synchronous_commit desc, clients, name.number;

select bench.assert('ledger_check finds no fault', count(*) = 0) from ledger_check() \g /dev/null
