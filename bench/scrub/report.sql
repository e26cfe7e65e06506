-- Medians of the scrub. Variables: large, small, turns.

\echo
\echo Scrub at full rate of :large entries of one context, and of :small contexts of 100 more; medians of :turns turns
\echo
select median.subject as contexts,
       case variant when 'scan' then 'sequential scan that computes sha256(payload)'
                    when 'slices' then 'ledger_scrub(1000000) until the end'
                    else 'ledger_scrub()' end as statement,
       bench.rounded(median.value) as seconds, bench.spread(ratio) as "of the scan"
  from bench.median
  join bench.ratio using (subject, variant)
 where ratio.base = 'scan'
 order by median.subject desc, variant = 'scan' desc, variant;

select bench.judge('5', format('scrub, %s : scan with sha256(payload)', subject), (value, lower, upper), '≤', 2)
  from bench.ratio
 where variant = 'ledger_scrub' and base = 'scan'
 order by subject desc \g /dev/null
