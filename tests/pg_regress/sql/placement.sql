-- A complete row, with a leaf hash, is verified and taken in as it is: what a dump restores.

\getenv source PG_ABS_SRCDIR
\set oracle :source '/oracle/format_1.sql'
\set ECHO none
\i :oracle
\set ECHO all
-- An entry as it would arrive from a dump, with its own leaf over whatever it says.
create function pg_temp.arriving(context text, sequence bigint, payload bytea default 'x', lamport bigint default null,
    origin text default 'elsewhere', appended_at timestamptz default '2026-01-02 03:04:05.678901+00', key text default 'facts',
    id text default '', metadata jsonb default '{}', salt bytea default '\x000102030405060708090a0b0c0d0e0f')
returns converge_ledger.entries language plpgsql as $$
declare
    e converge_ledger.entries := row(sequence, coalesce(lamport, sequence), appended_at, 1, context, origin, key, id, payload,
        metadata, salt, null, null);
begin
    e.leaf_hash := pg_temp.leaf(e);
    return e;
end $$;

begin;
-- Entries that this database stamped itself, out and in again: the same rows, roots and subtrees.
insert into converge_ledger.entries (context_id, key, payload, metadata, id)
select 'placed', 'facts', int4send(i), jsonb_build_object('i', i), case i % 10 when 0 then 'id ' || i else '' end
  from generate_series(1, 600) as i;
\getenv tests PG_ABS_SRCDIR
\set past :tests '/common/past.sql'
\i :past
create temp table dumped as select * from converge_ledger.entries where context_id = 'placed';
create temp table head as select * from ledger_head('placed');
create temp table stored as select * from converge_ledger.subtrees where context_id = 'placed';
alter table converge_ledger.entries disable trigger all;
delete from converge_ledger.entries where context_id = 'placed';
alter table converge_ledger.entries enable always trigger "~ledger_stamp";
alter table converge_ledger.entries enable always trigger ledger_append_only;
alter table converge_ledger.entries enable always trigger ledger_append_only_statement;
select pg_temp.past($past$delete from converge_ledger.subtrees where context_id = 'placed';
delete from converge_ledger.contexts where context_id = 'placed'$past$) \g /dev/null
commit;
-- In order, as INSERT.
begin;
insert into converge_ledger.entries select * from dumped where sequence <= 300 order by sequence;
-- Out of order, as COPY of a table whose rows were written by many: the second half backwards.
insert into converge_ledger.entries select * from dumped where sequence > 300 order by sequence desc;
select count(*) as different from dumped as d full join ledger_get('placed') as e using (sequence) where d is distinct from e;
select h = (select r from head as r) as same_head from ledger_head('placed') as h;
select * from ledger_check('placed');
select context_id from converge_ledger.contexts where context_id = 'placed';
-- The next append follows the last one.
select ledger_append('placed', 'facts', 'next');
select * from ledger_check('placed');
-- A subtree is never stored wrong; a missing one costs time, and is mended.
select count(*) as wrong from stored as s join converge_ledger.subtrees as n using (context_id, level, index) where s <> n;
select ledger_rebuild('placed') as read;
select count(*) as different from stored as s full join converge_ledger.subtrees as n
    on (s.context_id, s.level, s.index) = (n.context_id, n.level, n.index)
 where coalesce(s.context_id, n.context_id) = 'placed' and s is distinct from n;
rollback;

-- From another node.
begin;
insert into converge_ledger.entries select (pg_temp.arriving('foreign', i, int4send(i))).* from generate_series(1, 3) as i;
select sequence, lamport, origin, appended_at at time zone 'UTC' as appended_at, payload from ledger_get('foreign');
select size, lamport, owner from ledger_head('foreign');
select * from ledger_check('foreign');
-- Its owner alone goes on there.
savepoint s;
\set VERBOSITY terse
select ledger_append('foreign', '', 'x');
rollback to s;
\set VERBOSITY default
rollback;

-- Within a replication session the rows of a context may come in any order, also before its first.
begin;
set local session_replication_role = replica;
insert into converge_ledger.entries select (pg_temp.arriving('replicated', i, int4send(i))).* from unnest(array[3, 1, 2]) as i;
select array_agg(sequence) from ledger_get('replicated');
select * from ledger_check('replicated');
rollback;

-- The primary key refuses an entry that is there already, as it does for any table.
begin;
insert into converge_ledger.entries select * from pg_temp.arriving('twice', 1);
savepoint s;
\set VERBOSITY sqlstate
insert into converge_ledger.entries select * from pg_temp.arriving('twice', 1);
rollback to s;
insert into converge_ledger.entries select * from pg_temp.arriving('twice', 1, 'another');
rollback to s;
insert into converge_ledger.entries select * from pg_temp.arriving('twice', 1) on conflict do nothing;
insert into converge_ledger.entries select * from pg_temp.arriving('twice', 2, 'two');
select sequence, ledger_text(payload) from ledger_get('twice');
select * from ledger_check('twice');
rollback;
