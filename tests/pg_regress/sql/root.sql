-- ledger_root and ledger_head over every size of a small context, in both trees, against the literal definitions.

\getenv source PG_ABS_SRCDIR
\set oracle :source '/oracle/format_1.sql'
\set ECHO none
\i :oracle
\set ECHO all
begin;
insert into converge_ledger.entries (context_id, payload)
select 'root', int4send(i) from generate_series(1, 70) as i;
select tree, count(*) as sizes,
       bool_and(ledger_root('root', size, tree) = pg_temp.root(tree, (pg_temp.leaves('root'))[1:size])) as right_roots
  from unnest(array['bitcoin', 'rfc6962']) as tree, generate_series(0, 70) as size
 group by tree order by tree;

-- Without a size: that of the whole context; without a tree: bitcoin.
select ledger_root('root') = ledger_root('root', 70, 'bitcoin') as whole,
       ledger_root('root', 69) = ledger_root('root', 69, 'bitcoin') as bitcoin,
       ledger_root(context => 'root', tree => 'rfc6962') = ledger_root('root', 70, 'rfc6962') as named;
select size, lamport, owner = (select name from converge_ledger.node) as own,
       bitcoin_root = ledger_root('root') as bitcoin, rfc6962_root = ledger_root('root', tree => 'rfc6962') as rfc6962
  from ledger_head('root');

-- The root of nothing, and of one.
select ledger_root('root', 0) = sha256('') as bitcoin, ledger_root('root', 0, 'rfc6962') = sha256('') as rfc6962;
select ledger_root('root', 1) = sha256(leaf_hash || leaf_hash) as bitcoin,
       ledger_root('root', 1, 'rfc6962') = leaf_hash as rfc6962
  from converge_ledger.entries where context_id = 'root' and sequence = 1;

-- A root is that of one history: what is undone is gone from it.
create temp table before as select * from ledger_head('root');
savepoint s;
select ledger_append('root', '', 'undone');
select (ledger_head('root')).size, ledger_root('root') = (select bitcoin_root from before) as same;
rollback to s;
select h = before as same from ledger_head('root') as h, before;
rollback;
