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

-- Does something to the entries that their triggers would refuse.
create procedure bench.behind_triggers(variadic statements text[]) language plpgsql as $$
declare
    statement text;
begin
    alter table converge_ledger.entries disable trigger user;
    foreach statement in array statements loop
        execute statement;
    end loop;
    alter table converge_ledger.entries
        enable always trigger "~ledger_stamp",
        enable always trigger ledger_append_only,
        enable always trigger ledger_append_only_statement;
end
$$;

-- Removes what is stored about the tree over some entries, as it would be if it had been lost with them.
create procedure bench.forget_tree(context text, first bigint, last bigint default 1000000000) language sql as $$
    delete from converge_ledger.subtrees
     where context_id = context
       and index between (first - 1) >> level and (last - 1) >> level;
    delete from converge_ledger.digests where context_id = context;
$$;

select converge_ledger.refresh_digests() \g /dev/null
vacuum (freeze, analyze) converge_ledger.entries, converge_ledger.contexts, converge_ledger.subtrees, converge_ledger.digests;
checkpoint;
create subscription :subscription connection :'origin' publication ledger with (copy_data = false);
