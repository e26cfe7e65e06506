-- Medians of roots, proofs, reads and checks. Variables: turns.

create temporary view entries as
    select context_id, to_char(size, 'FM99,999,999') as entries from bench.context;
select entries as small from entries where context_id = 'small' \gset
select entries as medium from entries where context_id = 'medium' \gset
select entries as large from entries where context_id = 'large' \gset

\echo
\echo Milliseconds per call at :small, :medium and :large entries, medians
\echo
select operation.name as call, bench.rounded(small.value) as "small", bench.rounded(medium.value) as "medium",
       bench.rounded(large.value) as "large",
       bench.rounded((select percentile_cont(0.95) within group (order by value) from bench.measurement
                       where subject = operation.name and variant = 'large')) as "large, 95 %",
       bench.spread(ratio) as "large : small"
  from bench.operation
  join bench.median as small on (small.subject, small.variant) = (operation.name, 'small')
  join bench.median as medium on (medium.subject, medium.variant) = (operation.name, 'medium')
  join bench.median as large on (large.subject, large.variant) = (operation.name, 'large')
  join bench.ratio on (ratio.subject, ratio.variant, ratio.base) = (operation.name, 'large', 'small')
 order by operation.number;

select bench.judge('7', format('%s, %s entries', name, entries), (value, lower, upper), '≤', 1, ' ms')
  from bench.operation
  join bench.median on subject = name
  join entries on variant = context_id
 where judged and context_id <> 'hundred'
 order by number, length(entries) \g /dev/null
select bench.judge('7', format('%s, %s : %s entries', name, :'large', :'small'), (value, lower, upper), '≤', 2)
  from bench.operation
  join bench.ratio on subject = name
 where judged and variant = 'large' and base = 'small'
 order by number \g /dev/null
select bench.judge('7', format('%s of %s', subject, :'medium'), (value, lower, upper), '≤', 0.5, ' ms')
  from bench.median
 where subject = 'ledger_get, the last 10' and variant = 'medium' \g /dev/null

\echo
\echo A writer of one context, and four readers that prove in a loop: appends per second
\echo
select name as readers, round(median.value) as "per second", bench.spread(ratio) as "of elsewhere"
  from bench.median
  join bench.ratio using (subject, variant)
  join (values ('none', 'none', 1), ('elsewhere', 'in another database', 2),
               ('same', 'of the same context', 3)) as name (variant, name, number) using (variant)
 where subject = 'writer' and base = 'elsewhere'
 order by name.number;

select bench.judge('7', 'a writer beside readers of his context : beside readers in another database',
                   (value, lower, upper), '≥', 0.95)
  from bench.ratio
 where subject = 'writer' and variant = 'same' and base = 'elsewhere' \g /dev/null
select bench.judge('7', format('somebody waits for a lock, in %s looks at a writer and his readers', looks),
                   (waiting, waiting, waiting), '≤', 0)
  from bench.lock_waits \g /dev/null

\echo
\echo ledger_check of everything, medians of :turns turns, and the most memory of its backend
\echo
select case median.variant when 'scan' then 'sequential scan that computes sha256(payload)'
            else 'ledger_check()' end as statement,
       entries as "largest context", bench.rounded(median.value) as seconds, bench.spread(ratio) as "of the scan"
  from bench.context
  join entries using (context_id)
  join bench.median on subject = format('check of %s', size)
  join bench.ratio using (subject, variant)
 where ratio.base = 'scan' and context_id in ('medium', 'large')
 order by size, median.variant desc;
select entries as "checked", bench.rounded(value) as "MB at most"
  from bench.median join entries on variant = context_id
 where subject = 'memory'
 order by value;

select bench.judge('8', format('ledger_check of a database with a context of %s : scan with sha256(payload)', entries),
                   (value, lower, upper), '≤', 2)
  from bench.context
  join entries using (context_id)
  join bench.ratio on subject = format('check of %s', size)
 where variant = 'ledger_check' and base = 'scan' and context_id in ('medium', 'large')
 order by size \g /dev/null
select bench.judge('8', format('memory of ledger_check, %s : 100,000 entries', :'large'),
                   (value, lower, upper), '≤', 1.25)
  from bench.ratio
 where subject = 'memory' and variant = 'large' and base = 'hundred' \g /dev/null
