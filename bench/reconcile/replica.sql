-- What a database of the replica needs to be measured. Variables: origin (how to reach it), subscription.

set client_min_messages = warning;
create schema bench;
create function bench.assert(what text, holds boolean) returns void language plpgsql as $$
begin
    if holds is not true then
        raise exception 'not measured rightly: %', what;
    end if;
end
$$;

-- Does something to the ledger's tables that their guards would refuse.
create procedure bench.behind_triggers(variadic statements text[]) language plpgsql as $$
declare
    statement text;
begin
    for statement in
        select format('alter table %s disable trigger %I', tgrelid::regclass, tgname) from pg_trigger where tgname ~ '^~?ledger_'
    loop
        execute statement;
    end loop;
    foreach statement in array statements loop
        execute statement;
    end loop;
    for statement in
        select format('alter table %s enable always trigger %I', tgrelid::regclass, tgname) from pg_trigger where tgname ~ '^~?ledger_'
    loop
        execute statement;
    end loop;
end
$$;

-- Removes what is stored about the tree over some entries, as it would be if it had been lost with them.
create procedure bench.forget_tree(context text, first bigint, last bigint default 1000000000) language sql as $$
    call bench.behind_triggers(
        format('delete from converge_ledger.subtrees where context_id = %L and index between (%s - 1) >> level and (%s - 1) >> level',
               context, first, last),
        format('delete from converge_ledger.digests where context_id = %L', context));
$$;

select converge_ledger.refresh_digests() \g /dev/null
vacuum (freeze, analyze) converge_ledger.entries, converge_ledger.contexts, converge_ledger.subtrees, converge_ledger.digests;
checkpoint;
create subscription :subscription connection :'origin' publication ledger with (copy_data = false);
