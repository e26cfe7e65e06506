-- Contexts that are larger than a block of 256, and than 65,536 entries: which subtrees are stored, that their hashes
-- are right, and that roots and proofs which use them are those of the literal trees.

\getenv source PG_ABS_SRCDIR
\set oracle :source '/oracle/format_1.sql'
\set ECHO none
\i :oracle
\set ECHO all
-- The trees level by level, for many leaves: of RFC 6962 an odd last element goes up as it is.
create function pg_temp.root_by_level(tree text, d bytea[]) returns bytea language plpgsql immutable as $$
declare
    bitcoin constant boolean := tree = 'bitcoin';
begin
    loop
        select array_agg(case when r is not null then sha256(case when bitcoin then '' else '\x01'::bytea end || l || r)
                              when bitcoin then sha256(l || l) else l end order by i)
          into d
          from (select i, h, lead(h) over (order by i) from unnest(d) with ordinality as p (h, i)) as pairs (i, l, r)
         where i % 2 = 1;
        exit when cardinality(d) = 1;
    end loop;
    return d[1];
end $$;

begin;
insert into converge_ledger.entries (context_id, payload)
select 'subtrees', int4send(i) from generate_series(1, 300) as i;
-- A block is stored when the entry after it is appended.
select level, index, bitcoin = pg_temp.root('bitcoin', (pg_temp.leaves('subtrees'))[1:256]) as bitcoin,
       rfc6962 = pg_temp.root('rfc6962', (pg_temp.leaves('subtrees'))[1:256]) as rfc6962
  from converge_ledger.subtrees where context_id = 'subtrees';
select tree, bool_and(ledger_root('subtrees', size, tree) = pg_temp.root_by_level(tree, (pg_temp.leaves('subtrees'))[1:size]))
       as right_roots
  from unnest(array['bitcoin', 'rfc6962']) as tree, unnest(array[1, 2, 3, 255, 256, 257, 258, 299, 300]) as size
 group by tree order by tree;
select tree, bool_and(proof->'path' = pg_temp.hexadecimal(pg_temp.inclusion_path(
           tree, sequence, (pg_temp.leaves('subtrees'))[1:size]))) as right_path,
       bool_and(ledger_verify_proof(proof, size, ledger_root('subtrees', size, tree))) as verifies
  from unnest(array['bitcoin', 'rfc6962']) as tree,
       (values (1, 300), (256, 300), (257, 300), (300, 300), (256, 256), (256, 257), (257, 257), (17, 299)) as p (sequence, size),
       lateral ledger_proof('subtrees', sequence, size, tree) as proof
 group by tree order by tree;
select bool_and(proof->'path' = pg_temp.hexadecimal(pg_temp.consistency_path(
           old_size, (pg_temp.leaves('subtrees'))[1:size]))) as right_path,
       bool_and(ledger_verify_consistency(proof, old_size, ledger_root('subtrees', old_size, 'rfc6962'),
           size, ledger_root('subtrees', size, 'rfc6962'))) as verifies
  from (values (1, 300), (255, 300), (256, 300), (257, 300), (299, 300), (300, 300), (255, 256), (256, 257), (3, 257))
       as p (old_size, size), lateral ledger_consistency('subtrees', old_size, size) as proof;
rollback;

-- 66,000 entries, by several ways in, so that the block of 65,536 is filled on the way.
begin;
insert into converge_ledger.entries (context_id, payload)
select 'many', int4send(i) from generate_series(1, 1000) as i;
select count(ledger_append('many', '', int4send(i))) from generate_series(1001, 2000) as i;
select * from ledger_append_batch('many', '', (select array_agg(int4send(i) order by i) from generate_series(2001, 3000) as i));
insert into converge_ledger.entries (context_id, payload)
select 'many', int4send(i) from generate_series(3001, 66000) as i;
select count(*), bool_and(payload = int4send(sequence::int)) as in_order from ledger_get('many');
select level, count(*), min(index), max(index) from converge_ledger.subtrees
 where context_id = 'many' group by level order by level;

create temp table leaf as select sequence, leaf_hash from converge_ledger.entries where context_id = 'many';
create temp table wanted as
select tree, size, (select pg_temp.root_by_level(tree, array_agg(leaf_hash order by sequence)) from leaf where sequence <= size) as root
  from unnest(array['bitcoin', 'rfc6962']) as tree, unnest(array[65535, 65536, 65537, 66000]) as size;
select tree, bool_and(ledger_root('many', size, tree) = root) as right_roots from wanted group by tree order by tree;
-- The stored subtrees themselves.
select bool_and(s.bitcoin = w.root) as bitcoin from converge_ledger.subtrees as s, wanted as w
 where s.context_id = 'many' and s.level = 16 and w.tree = 'bitcoin' and w.size = 65536;
select bool_and(s.rfc6962 = w.root) as rfc6962 from converge_ledger.subtrees as s, wanted as w
 where s.context_id = 'many' and s.level = 16 and w.tree = 'rfc6962' and w.size = 65536;
select count(*), bool_and(bitcoin = pg_temp.root_by_level('bitcoin', leaves)) as bitcoin,
       bool_and(rfc6962 = pg_temp.root_by_level('rfc6962', leaves)) as rfc6962
  from converge_ledger.subtrees as s,
       lateral (select array_agg(leaf_hash order by sequence) as leaves from leaf
                 where sequence between s.index * 256 + 1 and s.index * 256 + 256) as l
 where context_id = 'many' and level = 8 and index in (0, 1, 3, 7, 11, 100, 200, 255, 256);

select w.tree, bool_and(ledger_verify_proof(ledger_proof('many', sequence, w.size, w.tree), w.size, w.root)) as verifies,
       max(jsonb_array_length(ledger_proof('many', sequence, w.size, w.tree)->'path')) as longest_path
  from wanted as w, unnest(array[1, 256, 257, 32768, 65535, 65536, 65537, 66000]) as sequence
 where sequence <= w.size group by w.tree order by w.tree;
select bool_and(ledger_verify_consistency(ledger_consistency('many', o.size, n.size), o.size, o.root, n.size, n.root)) as consistent,
       count(*)
  from wanted as o, wanted as n where o.tree = 'rfc6962' and n.tree = 'rfc6962' and o.size <= n.size;

\getenv tests PG_ABS_SRCDIR
\set past :tests '/common/past.sql'
\i :past
-- Stored subtrees are a cache: without them, all is the same.
create temp table proofs as
select w.tree, w.size, w.root, sequence, ledger_proof('many', sequence, w.size, w.tree) as proof
  from wanted as w, unnest(array[1, 257, 65536]) as sequence where sequence <= w.size;
select pg_temp.past($past$delete from converge_ledger.subtrees where context_id = 'many' and (level = 16 or index % 3 = 0)$past$) \g /dev/null
select bool_and(ledger_root('many', size, tree) = root) as same_roots from wanted;
select bool_and(ledger_proof('many', sequence, size, tree) = proof) as same_proofs from proofs;
select pg_temp.past($past$delete from converge_ledger.subtrees where context_id = 'many'$past$) \g /dev/null
select bool_and(ledger_root('many', size, tree) = root) as same_roots from wanted;
select bool_and(ledger_proof('many', sequence, size, tree) = proof) as same_proofs from proofs;
select * from ledger_check('many');
rollback;
