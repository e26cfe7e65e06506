-- The tables that the ledger keeps for itself decide what is looked at, compared and served: nobody changes them by hand. The ledger's own
-- code writes them below these triggers. The names of the tables are known to the compiled code (src/guard/own_tables.rs).

create function converge_ledger.own_table_guard() returns trigger
    language c
    as 'MODULE_PATHNAME', 'own_table_guard';
comment on function converge_ledger.own_table_guard() is
    'refuses changes by hand of a table that the ledger keeps for itself';

do $$
declare
    guarded text;
begin
    foreach guarded in array array[
        'contexts', 'subtrees', 'digests', 'unsettled', 'scrubbed', 'scrub_pass', 'peer_rounds', 'stated', 'halted',
        'incidents', 'incident_entries', 'node', 'node_claims', 'publications', 'pinned_origins', 'added_peers',
        'peer_alarms', 'added_objects', 'known_objects']
    loop
        execute pg_catalog.format('create trigger ledger_guard before insert or update or delete on converge_ledger.%I '
            'for each row execute function converge_ledger.own_table_guard()', guarded);
        execute pg_catalog.format('create trigger ledger_guard_statement before update or delete or truncate on converge_ledger.%I '
            'for each statement execute function converge_ledger.own_table_guard()', guarded);
        execute pg_catalog.format('alter table converge_ledger.%I enable always trigger ledger_guard', guarded);
        execute pg_catalog.format('alter table converge_ledger.%I enable always trigger ledger_guard_statement', guarded);
        execute pg_catalog.format('comment on trigger ledger_guard on converge_ledger.%I is %L', guarded,
            'refuses changes by hand, and passes over rows that a peer replicates');
        execute pg_catalog.format('comment on trigger ledger_guard_statement on converge_ledger.%I is %L', guarded,
            'refuses UPDATE, DELETE and TRUNCATE statements by hand');
    end loop;
end
$$;
