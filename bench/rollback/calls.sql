-- Times calls in this connection and adds them to $BENCH_RESULTS.
-- Variables: server, connection, moment, calls (of each operation).

-- The first calls of a session load the library and plan: they go to another context.
\o /dev/null
select format('select bench.time_call(''warm'', %L)', operation)
  from unnest(array['ledger_get, the last 10', 'ledger_root', 'ledger_head', 'ledger_append']) operation
 where operation <> 'ledger_append' or not pg_is_in_recovery() \gexec

\pset format unaligned
\pset tuples_only on
\pset fieldsep '\t'
\o |cat >>"$BENCH_RESULTS"
select format('select %L, %L, %L, %L, %L, %s, bench.time_call(%4$L, %3$L)',
              :'server', :'connection', operation, context, :'moment', call)
  from generate_series(1, :calls) call
 cross join unnest(array['loaded', 'untouched']) context
 cross join unnest(array['ledger_get, the last 10', 'ledger_root', 'ledger_head', 'ledger_append'])
            with ordinality as operations (operation, number)
 where operation <> 'ledger_append' or not pg_is_in_recovery()
 order by call, number, context \gexec
\o
