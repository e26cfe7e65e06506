-- What both nodes are to have, on the first of them. Variables: contexts, entries (of each).

create extension converge_ledger;
create schema bench;
select ledger_set_node('a') \g /dev/null
select ledger_publish() \g /dev/null
-- A million to a transaction.
create procedure bench.load(contexts bigint, entries bigint) language plpgsql as $$
declare
    part bigint := least(entries, 1000000);
    abreast bigint := greatest(1, 1000000 / part);
    first bigint := 0;
begin
    while first < contexts loop
        for times in 1 .. entries / part loop
            insert into converge_ledger.entries (context_id, key, payload, metadata)
            select 'context ' || context, 'measured', decode(repeat('62', 100), 'hex'), '{"src": "bench"}'
              from generate_series(first, least(first + abreast, contexts) - 1) as context cross join generate_series(1, part);
            commit;
        end loop;
        first := first + abreast;
    end loop;
end
$$;
call bench.load(:contexts, :entries);
select converge_ledger.refresh_digests() \g /dev/null
vacuum (freeze, analyze) converge_ledger.entries, converge_ledger.contexts, converge_ledger.subtrees, converge_ledger.digests;
