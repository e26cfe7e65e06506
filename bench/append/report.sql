-- Medians and ratios of the single-row append, and whether what was measured is sound.

create temporary table name (variant text, statement text, number integer);
insert into name values
    ('plain', 'plain table', 1), ('insert', 'INSERT', 2), ('function', 'ledger_append', 3),
    ('chain', 'PL/pgSQL hash chain', 4), ('message', 'write_message', 5),
    ('category', 'write_message, a category each', 6);

create temporary view turn as
    select subject, split_part(subject, ' ', 1) as synchronous_commit,
           split_part(subject, ' ', 2)::integer as clients
      from bench.measurement
     group by subject;

select synchronous_commit as "synchronous", clients, statement, round(median.value) as "per second",
       bench.spread(ratio) as "of plain"
  from turn
  join bench.median using (subject)
  join bench.ratio using (subject, variant)
  join name using (variant)
 where ratio.base = 'plain'
 order by synchronous_commit desc, clients, number;

with wanted (number, variant, base, target) as (
    values (1, 'insert', 'plain', 0.85), (2, 'insert', 'chain', 1.5),
           (3, 'function', 'plain', 0.85), (4, 'function', 'chain', 1.5),
           (5, 'function', 'message', 2.5), (6, 'function', 'category', 2.5)
)
select bench.judge('1', format('%s : %s, clients %s, synchronous_commit %s', name.statement,
                               base.statement, clients, synchronous_commit),
                   (ratio.value, ratio.lower, ratio.upper), '≥', wanted.target)
  from wanted
  join bench.ratio using (variant, base)
  join turn using (subject)
  join name on name.variant = wanted.variant
  join name as base on base.variant = wanted.base
 order by wanted.number, synchronous_commit desc, clients \g /dev/null

select bench.assert('ledger_check finds no fault', count(*) = 0) from ledger_check() \g /dev/null
