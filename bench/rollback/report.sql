-- Medians before and after the rolled-back load. Variables: rows, calls, connections.

create table bench.call (
    server text, connection text, operation text, context text, moment text,
    call integer, milliseconds float8);
\copy bench.call from program 'cat "$BENCH_RESULTS"'

select bench.assert('every call was timed', count(*) = 2 * 2 * 7 * (:calls::bigint + :connections))
  from bench.call \g /dev/null

\echo
\echo Milliseconds per call before and after a rolled-back load of :rows rows into its context of 10,000
\echo entries, not vacuumed; old connection: medians of :calls calls, fresh: of the first calls of
\echo :connections connections
\echo
-- What the machine did meanwhile shows in the calls to an untouched context of the same size, made in
-- turns with the others: the slowdown is what lies beyond it.
create view bench.slowdown as
with summary as (
    select server, connection, operation, context,
           percentile_cont(0.5) within group (order by milliseconds)
               filter (where moment = 'before') as before,
           percentile_cont(0.5) within group (order by milliseconds)
               filter (where moment = 'after') as after,
           (array_agg(milliseconds order by call) filter (where moment = 'after'))[1] as first,
           max(milliseconds) filter (where moment = 'after') as highest
      from bench.call
     group by server, connection, operation, context
)
select loaded.*, untouched.after / untouched.before as untouched,
       loaded.after / loaded.before / (untouched.after / untouched.before) as ratio
  from summary as loaded
  join summary as untouched using (server, connection, operation)
 where loaded.context = 'loaded' and untouched.context = 'untouched';

select server, connection, operation as call,
       round(before::numeric, 3) as before,
       round(after::numeric, 3) as after,
       round(first::numeric, 3) as "first after",
       round(highest::numeric, 3) as "slowest after",
       round((after / before)::numeric, 2) as "ratio",
       round(untouched::numeric, 2) as "untouched",
       round(ratio::numeric, 2) as "slowdown",
       bench.at_most(ratio, 1.25) as target
  from bench.slowdown
 order by server, connection desc, operation;

select bench.judge('-', format('%s after a rolled-back load : before, %s, %s connection', operation, server,
                               case connection when 'old' then 'an old' else 'a fresh' end),
                   (ratio, ratio, ratio), '≤', 1.25)
  from bench.slowdown
 order by server, connection desc, operation \g /dev/null

select bench.assert('the rolled-back rows left no entry', max(sequence) = count(*)
           and count(*) = 10000 + 2 * :calls::bigint + 2 * :connections)
  from converge_ledger.entries where context_id = 'loaded' \g /dev/null
select bench.assert('ledger_check finds no fault', count(*) = 0) from ledger_check() \g /dev/null
