-- Single calls, timed inside one backend. Variables: calls, seed, large.

select setseed(:seed) \g /dev/null

-- Times an expression for both contexts in turns. It may use context, size, an entry of it and an
-- earlier size, both chosen at random. The first calls warm up and are not counted.
create procedure bench.time_calls(operation text, expression text, calls integer)
    language plpgsql as $procedure$
begin
    execute format($block$
        do $do$
        declare
            measured record;
            context text;
            size bigint;
            entry bigint;
            earlier bigint;
            started timestamptz;
            ended timestamptz;
        begin
            for number in -9 .. %2$s loop
                for measured in select * from bench.context loop
                    context := measured.context_id;
                    size := measured.size;
                    entry := 1 + floor(random() * size);
                    earlier := 1 + floor(random() * size);
                    started := clock_timestamp();
                    perform %1$s;
                    ended := clock_timestamp();
                    if number > 0 then
                        insert into bench.measurement
                        values (%3$L, context, number, extract(epoch from ended - started) * 1e3);
                    end if;
                end loop;
            end loop;
        end
        $do$ $block$, expression, calls, operation);
end
$procedure$;

create table bench.operation (
    number integer, name text, expression text, most_ms numeric, most_ratio numeric);
insert into bench.operation values
    (1, 'ledger_root, bitcoin', 'ledger_root(context)', 2, 2),
    (2, 'ledger_root, rfc6962', 'ledger_root(context, tree => ''rfc6962'')', 2, 2),
    (3, 'ledger_root of an earlier size', 'ledger_root(context, earlier)', 2, 2),
    (4, 'ledger_proof, bitcoin', 'ledger_proof(context, entry)', 2, 2),
    (5, 'ledger_proof, rfc6962', 'ledger_proof(context, entry, tree => ''rfc6962'')', 2, 2),
    (6, 'ledger_consistency', 'ledger_consistency(context, earlier)', null, null),
    (7, 'ledger_head', '* from ledger_head(context)', null, null),
    (8, 'ledger_get, the last 10', '* from ledger_get(context, size - 10)', null, null),
    (9, 'ledger_get, 10 of the middle', '* from ledger_get(context, size / 2, 10)', null, null);
select format('call bench.time_calls(%L, %L, %s)', name, expression, :calls)
  from bench.operation order by number \gexec

\echo
\echo Milliseconds per call with 10,000 and with :large entries, medians of :calls calls each; seed :seed
\echo
with percentile as (
    select subject, variant,
           percentile_cont(0.5) within group (order by value) as median,
           percentile_cont(0.95) within group (order by value) as high
      from bench.measurement
     where subject in (select name from bench.operation)
     group by subject, variant
)
select operation.name as call,
       round(small.median::numeric, 3) as "small",
       round(large.median::numeric, 3) as "large",
       round(large.high::numeric, 3) as "large, 95 %",
       coalesce(bench.at_most(large.median, most_ms, ' ms'), '') as "target",
       round((large.median / small.median)::numeric, 2) as "large : small",
       coalesce(bench.at_most(large.median / small.median, most_ratio), '') as "target"
  from bench.operation
  join percentile as small on (small.subject, small.variant) = (operation.name, 'small')
  join percentile as large on (large.subject, large.variant) = (operation.name, 'large')
 order by operation.number;

select bench.assert('proofs hold', bool_and(ledger_verify_proof(
           ledger_proof(context_id, size / 3, tree => tree), size, ledger_root(context_id, tree => tree))))
  from bench.context cross join (values ('bitcoin'), ('rfc6962')) as trees (tree) \g /dev/null
