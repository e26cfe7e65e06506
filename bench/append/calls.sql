-- Many calls of ledger_append in one transaction: 100,000 must not take more than 11 times as long as 10,000.

create procedure bench.calls(variant text, repetition integer, calls integer) language plpgsql as $$
declare
    started constant timestamptz := clock_timestamp();
begin
    for number in 1 .. calls loop
        perform ledger_append('calls ' || variant || repetition, 'measured', 'payload');
    end loop;
    insert into bench.measurement
    values ('calls', variant, repetition, extract(epoch from clock_timestamp() - started) * 1e3);
end
$$;

select format('call bench.calls(%L, %s, %s)', to_char(calls, 'FM999,999'), repetition, calls)
  from generate_series(1, 5) as repetition, unnest(array[10000, 100000]) as calls \gexec

select variant as "calls in one transaction", round(median.value::numeric, 1) as "ms",
       case when variant = '100,000' then bench.spread(ratio) else '' end as "times as long",
       case when variant = '100,000' then bench.at_most(ratio.value, 11) else '' end as target
  from bench.median join bench.ratio using (subject, variant)
 where subject = 'calls' and ratio.base = '10,000'
 order by median.value;
