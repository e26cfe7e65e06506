-- A gap that replication left in a context keeps appends away, and nothing else: what is derived can be rebuilt, a retry is
-- recognised, and the missing entries can be put in one by one.

\getenv source PG_ABS_SRCDIR
\set oracle :source '/oracle/format_1.sql'
\set ECHO none
\i :oracle
\set ECHO all
create function pg_temp.arriving(sequence bigint) returns converge_ledger.entries language plpgsql as $$
declare
    e converge_ledger.entries := row(sequence, sequence, '2026-01-02 03:04:05+00', 1, 'replicated gap', (select name from converge_ledger.node),
        'facts', case sequence when 1 then 'one' else '' end, 'x', '{}', '\x000102030405060708090a0b0c0d0e0f', null, null);
begin
    e.leaf_hash := pg_temp.leaf(e);
    return e;
end $$;
select ledger_append('replicated gap, node', '', 'x');
set session_replication_role = replica;
insert into converge_ledger.entries select (pg_temp.arriving(i)).* from unnest(array[1, 2, 5, 6]) as i;
reset session_replication_role;
select size from ledger_head('replicated gap');
\set VERBOSITY sqlstate
select ledger_append('replicated gap', 'facts', 'y');
-- Refused, and caught: the transaction has other things to commit.
do $$
begin
    perform ledger_append('replicated gap, node', '', 'y');
    perform ledger_append('replicated gap', 'facts', 'y');
exception when data_corrupted then
    perform ledger_append('replicated gap, node', '', 'z');
end $$;
select ledger_append('replicated gap', 'facts', 'x', id => 'one');
select ledger_rebuild('replicated gap');
select ledger_rebuild() > 0 as all_rebuilt;
insert into converge_ledger.entries select (pg_temp.arriving(3)).*;
select size from ledger_head('replicated gap');
select sequence, detail from ledger_check('replicated gap') where kind = 'gap';
-- One beyond it is refused: that gap would be new.
insert into converge_ledger.entries select (pg_temp.arriving(8)).*;
insert into converge_ledger.entries select (pg_temp.arriving(4)).*;
select size from ledger_head('replicated gap');
select ledger_append('replicated gap', 'facts', 'y');
select sequence, kind, detail from ledger_check('replicated gap');
select ledger_text(payload) from ledger_get('replicated gap, node');
-- No gap stays, whatever happened above.
set session_replication_role = replica;
insert into converge_ledger.entries select (pg_temp.arriving(i)).* from generate_series(1, 6) as i on conflict do nothing;
reset session_replication_role;
