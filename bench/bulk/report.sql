-- Medians and ratios of bulk loads.

create temporary table wanted (number integer, item text, subject text, target numeric);
insert into wanted values
    (1, '2', 'ledger_append_batch', 1), (2, '2', 'ledger_append_rows', 1),
    (3, '2', 'INSERT … SELECT', null), (4, '3', 'COPY', 0.8), (5, '3', 'COPY, 1,000 contexts', 0.7),
    (6, '3', 'INSERT … SELECT, 1,000 contexts', 0.7);

select subject as statement, name.name as "into", round((1e6 / median.value)::numeric, 2) as "µs per row",
       round(median.value) as "rows per second", bench.spread(ratio) as "of plain"
  from bench.median
  join wanted using (subject)
  join (values ('plain', 'plain table', 1), ('ledger', 'ledger', 2),
               ('chain', 'PL/pgSQL hash chain, 10,000 rows', 3)) as name (variant, name, number)
    using (variant)
  join bench.ratio using (subject, variant)
 where ratio.base = 'plain' and (variant <> 'plain' or subject !~ '^ledger_')
 order by wanted.number, name.number;

\echo
\echo 'The hash chain is quadratic within a transaction, hence 10,000 rows only.'

select bench.judge(item, format('%s : plain %s', subject,
                                case when subject ~ '^ledger_' then 'INSERT … SELECT' else 'table' end),
                   (value, lower, upper), case when target is not null then '≥' end, target)
  from wanted join bench.ratio using (subject)
 where variant = 'ledger' and base = 'plain'
 order by number \g /dev/null
