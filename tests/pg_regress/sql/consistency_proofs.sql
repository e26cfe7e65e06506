-- ledger_consistency of every pair of sizes: the path is that of RFC 6962, 2.1.2, the proof verifies against both
-- trees, and against nothing else.

\getenv source PG_ABS_SRCDIR
\set oracle :source '/oracle/format_1.sql'
\set ECHO none
\i :oracle
\set ECHO all
begin;
insert into converge_ledger.entries (context_id, payload)
select 'consistency', int4send(i) from generate_series(1, 20) as i;
create temp table proofs as
select old_size, size, ledger_consistency('consistency', old_size, size) as proof,
       ledger_root('consistency', old_size, 'rfc6962') as old_root, ledger_root('consistency', size, 'rfc6962') as root
  from generate_series(1, 20) as size, generate_series(1, size) as old_size;

select count(*),
       bool_and(proof->'path' = pg_temp.hexadecimal(pg_temp.consistency_path(
           old_size, (pg_temp.leaves('consistency'))[1:size]))) as right_path,
       bool_and(ledger_verify_consistency(proof, old_size, old_root, size, root)) as verifies,
       bool_and(proof - 'path' = jsonb_build_object('format', 1, 'kind', 'consistency', 'tree', 'rfc6962',
           'context', 'consistency', 'old_size', old_size, 'old_root', encode(old_root, 'hex'),
           'size', size, 'root', encode(root, 'hex'))) as members
  from proofs;
-- Without a size: to the whole context.
select ledger_consistency('consistency', 7) = ledger_consistency('consistency', 7, 20) as whole;

-- Against other sizes and roots.
select bool_or(ledger_verify_consistency(proof, old_size, sha256(old_root), size, root)) as other_old_root,
       bool_or(ledger_verify_consistency(proof, old_size, old_root, size, sha256(root))) as other_root,
       bool_or(old_size < size and ledger_verify_consistency(proof, old_size, root, size, old_root)) as swapped
  from proofs;
-- One tree of another size.
select bool_or(ledger_verify_consistency(p.proof, o.old_size, o.old_root, o.size, o.root)) as of_another_pair
  from proofs as p join proofs as o on (p.old_size, p.size) <> (o.old_size, o.size)
 -- Equal sizes have an empty path, which proves that each tree is itself.
 where not (p.old_size = p.size and o.old_size = o.size);
-- Altered, shortened, lengthened.
select bool_or(ledger_verify_consistency(jsonb_set(proof, array['path', (n - 1)::text],
           to_jsonb(translate(left(h, 1), '0123456789abcdef', '123456789abcdef0') || substr(h, 2))),
           old_size, old_root, size, root)) as altered,
       bool_or(ledger_verify_consistency(proof #- array['path', (n - 1)::text], old_size, old_root, size, root)) as shorter,
       bool_or(ledger_verify_consistency(jsonb_set(proof, '{path}', proof->'path' || to_jsonb(h)),
           old_size, old_root, size, root)) as longer
  from proofs cross join lateral jsonb_array_elements_text(proof->'path') with ordinality as p (h, n);

-- A history that was rewritten: the same sizes, another root.
insert into converge_ledger.entries (context_id, payload)
select 'consistency, forked', int4send(case i when 5 then 55 else i end) from generate_series(1, 20) as i;
select bool_or(ledger_verify_consistency(ledger_consistency('consistency, forked', old_size, size),
           old_size, old_root, size, ledger_root('consistency, forked', size, 'rfc6962'))) as forked
  from proofs where old_size < size;

-- Size 0, a size beyond, and the order of the two.
\set VERBOSITY default
savepoint s;
select ledger_consistency('consistency', 0, 5);
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_consistency('consistency', 5, 0);
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_consistency('consistency', 6, 5);
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_consistency('consistency', -1, 5);
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_consistency('consistency', 5, 21);
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_consistency('consistency', 21);
\echo :LAST_ERROR_SQLSTATE
rollback to s;
-- Nothing proves that a tree begins with nothing: refused, not true.
select bool_or(ledger_verify_consistency(jsonb_set(jsonb_set(proof, '{old_size}', '0'), '{path}', '[]'),
           0, sha256(''), size, root)) as from_nothing
  from proofs;
rollback;
