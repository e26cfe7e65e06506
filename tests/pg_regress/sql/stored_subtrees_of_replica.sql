-- Rows that come and go under session_replication_role = replica in the transaction that appends never lead to a wrong subtree:
-- the one that is stored is that of the leaves in the table.

\getenv source PG_ABS_SRCDIR
\set oracle :source '/oracle/format_1.sql'
\set ECHO none
\i :oracle
\set ECHO all
create function pg_temp.arriving(context text, sequence bigint, payload text, appended_at timestamptz default clock_timestamp())
returns converge_ledger.entries language plpgsql as $$
declare
    e converge_ledger.entries := row(sequence, sequence, appended_at, 1, context, (select name from converge_ledger.node),
        'facts', '', convert_to(payload, 'UTF8'), '{}', '\x000102030405060708090a0b0c0d0e0f', null, null);
begin
    e.leaf_hash := pg_temp.leaf(e);
    return e;
end $$;
-- Whether roots are those of the literal trees, and stay so when everything derived is rebuilt.
create function pg_temp.sound(context text) returns table (bitcoin boolean, rfc6962 boolean, rebuilt boolean, faults bigint)
language plpgsql as $$
declare
    head record;
begin
    head := ledger_head(context);
    bitcoin := head.bitcoin_root = pg_temp.root('bitcoin', pg_temp.leaves(context));
    rfc6962 := head.rfc6962_root = pg_temp.root('rfc6962', pg_temp.leaves(context));
    select count(*) into faults from ledger_check(context);
    perform ledger_rebuild(context);
    rebuilt := ledger_head(context)::text = head::text;
    return next;
end $$;

-- The place of the next stamp is taken by a row that came as a replica's: the primary key swallows the stamped one.
begin;
insert into converge_ledger.entries (context_id, payload) select 'replica', int4send(i) from generate_series(1, 255) as i;
set local session_replication_role = replica;
insert into converge_ledger.entries select * from pg_temp.arriving('replica', 256, 'replicated');
set local session_replication_role = origin;
insert into converge_ledger.entries (context_id, payload) values ('replica', 'swallowed') on conflict do nothing returning sequence;
insert into converge_ledger.entries (context_id, payload) select 'replica', int4send(i) from generate_series(257, 300) as i
on conflict do nothing;
commit;
select count(*), max(sequence), bool_or(payload = 'swallowed') as swallowed_is_there from ledger_get('replica');
select level, index from converge_ledger.subtrees where context_id = 'replica';
select * from pg_temp.sound('replica');

-- In one of the functions it is an error, after which the savepoint goes on.
begin;
insert into converge_ledger.entries (context_id, payload) select 'replica, function', int4send(i) from generate_series(1, 255) as i;
set local session_replication_role = replica;
insert into converge_ledger.entries select * from pg_temp.arriving('replica, function', 256, 'replicated');
set local session_replication_role = origin;
savepoint s;
\set VERBOSITY sqlstate
select ledger_append('replica, function', '', 'x');
rollback to s;
commit;
select count(ledger_append('replica, function', '', int4send(i))) from generate_series(257, 300) as i;
select * from pg_temp.sound('replica, function');

-- A row in the middle of a block is replaced by another after it was stamped, before the block is full.
begin;
insert into converge_ledger.entries (context_id, payload) select 'replica, replaced', int4send(i) from generate_series(1, 200) as i;
alter table converge_ledger.entries disable trigger ledger_append_only, disable trigger ledger_append_only_statement;
delete from converge_ledger.entries where context_id = 'replica, replaced' and sequence = 100 returning appended_at \gset
alter table converge_ledger.entries enable always trigger ledger_append_only, enable always trigger ledger_append_only_statement;
set local session_replication_role = replica;
insert into converge_ledger.entries select * from pg_temp.arriving('replica, replaced', 100, 'another', :'appended_at');
set local session_replication_role = origin;
insert into converge_ledger.entries (context_id, payload) select 'replica, replaced', int4send(i) from generate_series(201, 300) as i;
commit;
select level, index from converge_ledger.subtrees where context_id = 'replica, replaced';
select * from pg_temp.sound('replica, replaced');
