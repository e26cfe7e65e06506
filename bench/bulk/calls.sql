-- Many calls of ledger_append in one transaction: ten times as many must not take more than 11 times as
-- long. Variables: turns.

create procedure bench.calls(calls integer, repetition integer) language plpgsql as $$
declare
    context constant text := format('calls %s %s', repetition, calls);
    started timestamptz;
begin
    execute 'checkpoint';
    commit;
    started := clock_timestamp();
    for number in 1 .. calls loop
        perform ledger_append(context, 'measured', 'payload');
    end loop;
    commit;
    insert into bench.measurement
    values ('calls', calls::text, repetition, extract(epoch from clock_timestamp() - started) * 1e3);
end
$$;

-- The first calls of a session load the library and plan.
call bench.calls(10000, 0);
delete from bench.measurement where subject = 'calls';
select format('call bench.calls(%s, %s)', calls, repetition)
  from generate_series(1, :turns) as repetition, unnest(array[10000, 100000, 1000000]) as calls \gexec

select to_char(variant::integer, 'FM9,999,999') as "calls in one transaction",
       round(median.value::numeric, 1) as "ms",
       round((median.value * 1e3 / variant::integer)::numeric, 2) as "µs per call",
       bench.spread(ratio) as "times as long"
  from bench.median join bench.ratio using (subject, variant)
 where subject = 'calls' and ratio.base = '10000'
 order by variant::integer;

select bench.judge('4', format('%s calls of ledger_append in one transaction : 10,000 calls',
                               to_char(variant::integer, 'FM9,999,999')),
                   (value, lower, upper), '≤', target)
  from (values ('100000', 11), ('1000000', 110)) as wanted (variant, target)
  join bench.ratio using (variant)
 where subject = 'calls' and base = '10000'
 order by target \g /dev/null
