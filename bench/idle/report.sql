-- Bytes of WAL per second and processor time of servers that are left alone. Variables: entries, measure.

create table bench.idle (subject text, bytes bigint, milliseconds bigint);
\copy bench.idle from program 'cat "$BENCH_RESULTS"'

select bench.assert('every server was measured', count(*) = 3) from bench.idle \g /dev/null

\echo
\echo A server that is left alone with :entries entries, over :measure s
\echo
select subject, round(bytes / :measure::numeric) as "bytes of WAL per second",
       round(milliseconds / :measure::numeric / 10, 2) as "% of a processor"
  from bench.idle order by bytes;

select bench.judge('19', format('WAL of an idle server, %s entries in %s', :entries, subject),
                   (value, value, value), '≤', 1500, ' bytes/s')
  from (select subject, bytes / :measure::float8 as value from bench.idle) as measured
 where subject <> 'PostgreSQL alone' order by subject \g /dev/null
select bench.judge('-', 'the same, PostgreSQL alone', (value, value, value), null, null, ' bytes/s')
  from (select bytes / :measure::float8 as value from bench.idle where subject = 'PostgreSQL alone') as measured \g /dev/null
