-- The large context, in transactions of at most 1,000,000 entries. Variables: large.

create procedure bench.load(context text, size bigint) language plpgsql as $$
declare
    payloads constant bytea[] := array_fill(decode(repeat('62', 100), 'hex'), array[10000]);
begin
    for batch in 1 .. size / 10000 loop
        perform ledger_append_batch(context, 'measured', payloads, '{"src": "bench"}');
        if batch % 100 = 0 then
            commit;
        end if;
    end loop;
end
$$;
call bench.load('large', :large);
vacuum (freeze, analyze) converge_ledger.entries, converge_ledger.subtrees;
checkpoint;
