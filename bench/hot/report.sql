-- Medians and ratios of one hot context.

-- Transactions as they were counted; from here on entries.
update bench.measurement set value = value * 100 where variant = 'batch';

select name as statement, round(value) as "entries (rows) per second"
  from bench.median
  join (values ('row', 'UPDATE of one plain row', 1), ('single', 'ledger_append', 2),
               ('batch', 'ledger_append_batch of 100', 3)) as name (variant, name, number) using (variant)
 order by number;

select bench.judge('5', what, (value, lower, upper), '≥', target)
  from (values (1, 'single', 'row', 1, 'ledger_append to one context : UPDATE of one row, clients 16'),
               (2, 'batch', 'single', 30, 'entries per second, ledger_append_batch of 100 : ledger_append'))
       as wanted (number, variant, base, target, what)
  join bench.ratio using (variant, base)
 order by number \g /dev/null

select bench.assert('ledger_check finds no fault', count(*) = 0) from ledger_check() \g /dev/null
