-- A complete row whose id belongs to another entry can be dropped by ON CONFLICT DO NOTHING: what follows it leaves no gap,
-- and no subtree is stored over it.

\getenv source PG_ABS_SRCDIR
\set oracle :source '/oracle/format_1.sql'
\set ECHO none
\i :oracle
\set ECHO all
-- An entry of this node as a dump would bring it.
create function pg_temp.arriving(context text, sequence bigint, id text default '')
returns converge_ledger.entries language plpgsql as $$
declare
    e converge_ledger.entries := row(sequence, sequence, '2026-01-02 03:04:05+00', 1, context, (select name from converge_ledger.node),
        'facts', id, convert_to('entry ' || sequence || ' ' || id, 'UTF8'), '{}', '\x000102030405060708090a0b0c0d0e0f', null, null);
begin
    e.leaf_hash := pg_temp.leaf(e);
    return e;
end $$;
create function pg_temp.say(context text) returns text language sql stable as $$
    select string_agg(sequence || '=' || coalesce(nullif(id, ''), '-'), ' ' order by sequence)
      from converge_ledger.entries where context_id = context
$$;
select ledger_append('placed id, node', '', 'x');

-- Followed by an append, in the same statement, the next one, or after a savepoint.
begin;
insert into converge_ledger.entries select (pg_temp.arriving('placed id', 1, 'one')).*;
insert into converge_ledger.entries select (pg_temp.arriving('placed id', 2, 'one')).* on conflict do nothing;
select ledger_append('placed id', '', 'x');
insert into converge_ledger.entries select (pg_temp.arriving('placed id', 3, 'one')).* on conflict do nothing;
savepoint s;
insert into converge_ledger.entries (context_id, payload) values ('placed id', 'x') returning sequence;
release s;
savepoint s;
insert into converge_ledger.entries select (pg_temp.arriving('placed id', 4, 'one')).* on conflict do nothing;
rollback to s;
select ledger_append('placed id', '', 'x', id => 'four');
select pg_temp.say('placed id');
select * from ledger_check('placed id');
rollback;

-- Followed by another complete row, which takes its place.
begin;
insert into converge_ledger.entries
select (pg_temp.arriving('placed id', sequence, id)).*
  from (values (1, 'one'), (2, 'one'), (2, 'two'), (3, 'two'), (3, 'one'), (3, '')) as v (sequence, id)
on conflict do nothing;
commit;
select pg_temp.say('placed id');
select * from ledger_check('placed id');

-- The last row of a transaction: the next one goes on where the context ends.
begin;
insert into converge_ledger.entries select (pg_temp.arriving('placed id', 4, 'one')).* on conflict do nothing;
commit;
select ledger_append('placed id', '', 'x');

-- At the end of a block of 256: the subtree is that of the rows that are there.
begin;
insert into converge_ledger.entries select (pg_temp.arriving('placed id, block', i, case i when 7 then 'seven' else '' end)).*
  from generate_series(1, 255) as i;
insert into converge_ledger.entries select (pg_temp.arriving('placed id, block', 256, 'seven')).* on conflict do nothing;
insert into converge_ledger.entries select (pg_temp.arriving('placed id, block', 256, 'another')).* on conflict do nothing;
insert into converge_ledger.entries select (pg_temp.arriving('placed id, block', 257, 'seven')).* on conflict do nothing;
select ledger_append('placed id, block', '', 'x');
select level, index, bitcoin = pg_temp.root('bitcoin', (pg_temp.leaves('placed id, block'))[1:256]) as bitcoin,
       rfc6962 = pg_temp.root('rfc6962', (pg_temp.leaves('placed id, block'))[1:256]) as rfc6962
  from converge_ledger.subtrees where context_id = 'placed id, block';
select * from ledger_check('placed id, block');
rollback;
