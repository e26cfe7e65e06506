-- ledger_proof of every (sequence, size) of a small context in both trees: the path is that of the literal
-- definition, and the proof verifies against the size and root that it is for and against no other.

\getenv source PG_ABS_SRCDIR
\set oracle :source '/oracle/format_1.sql'
\set ECHO none
\i :oracle
\set ECHO all
begin;
insert into converge_ledger.entries (context_id, key, payload, metadata, id)
select 'inclusion', 'key ' || i % 3, int4send(i), jsonb_build_object('i', i), case i % 4 when 0 then 'id ' || i else '' end
  from generate_series(1, 20) as i;
create temp table proofs as
select tree, size, sequence, ledger_proof('inclusion', sequence, size, tree) as proof,
       ledger_root('inclusion', size, tree) as root
  from unnest(array['bitcoin', 'rfc6962']) as tree,
       generate_series(1, 20) as size, generate_series(1, size) as sequence;

select tree, count(*),
       bool_and(proof->'path' = pg_temp.hexadecimal(pg_temp.inclusion_path(
           tree, sequence, (pg_temp.leaves('inclusion'))[1:size]))) as right_path,
       bool_and(ledger_verify_proof(proof, size, root)) as verifies,
       bool_and(ledger_verify_proof('inclusion', proof)) as verifies_here
  from proofs group by tree order by tree;

-- All members, and their values.
select distinct jsonb_object_keys(proof) as member from proofs order by member;
select bool_and(proof @> jsonb_build_object('format', 1, 'kind', 'inclusion', 'tree', tree, 'size', size,
                    'root', encode(root, 'hex'), 'leaf_hash', encode(e.leaf_hash, 'hex'))) as members,
       bool_and(proof->'entry' = jsonb_build_object(
           'context', e.context_id, 'sequence', e.sequence, 'lamport', e.lamport, 'origin', e.origin,
           'appended_at', pg_temp.microseconds(e.appended_at), 'key', e.key, 'id', e.id,
           'payload', encode(e.payload, 'hex'), 'metadata', e.metadata::text, 'salt', encode(e.salt, 'hex'))) as entry
  from proofs join converge_ledger.entries as e on e.context_id = 'inclusion' and e.sequence = proofs.sequence;

-- Without content: the digest in its place, and nothing of the content left.
select bool_and(ledger_verify_proof(p, 20, ledger_root('inclusion', 20))) as verifies,
       bool_and((p->'entry') ?| array['payload', 'metadata', 'salt']) as shows_content,
       bool_and(p->'entry'->>'content_digest' = encode(pg_temp.content_digest(e), 'hex')) as right_digest
  from converge_ledger.entries as e,
       lateral ledger_proof('inclusion', e.sequence, with_content => false) as p
 where e.context_id = 'inclusion';
-- Defaults: the whole context, bitcoin, with content.
select ledger_proof('inclusion', 7) = ledger_proof('inclusion', 7, 20, 'bitcoin', true) as defaults;

-- Against the tree of another size, another root, the root of the other tree.
select p.tree, bool_or(ledger_verify_proof(p.proof, o.size, o.root)) as other_size,
       bool_or(ledger_verify_proof(p.proof, p.size, sha256(p.root))) as other_root
  from proofs as p join (select distinct tree, size, root from proofs) as o
    on o.tree = p.tree and o.size <> p.size
 group by p.tree order by p.tree;
select tree, bool_or(ledger_verify_proof(proof, size, ledger_root('inclusion', size,
           case tree when 'bitcoin' then 'rfc6962' else 'bitcoin' end))) as other_tree
  from proofs group by tree order by tree;
-- Size 0 has no entry.
select bool_or(ledger_verify_proof(proof, 0, sha256(''))) as size_0 from proofs;

-- Every part altered, in every proof.
create temp table altered as
select tree, size, sequence, root, part, case part
    when 'path hash' then jsonb_set(proof, array['path', (n - 1)::text],
                          to_jsonb(translate(left(h, 1), '0123456789abcdef', '123456789abcdef0') || substr(h, 2)))
    when 'path shorter' then proof #- array['path', '-1']
    when 'path longer' then jsonb_set(proof, '{path}', proof->'path' || to_jsonb(encode(root, 'hex')))
    end as proof
  from proofs cross join lateral jsonb_array_elements_text(proof->'path') with ordinality as p (h, n)
  cross join unnest(array['path hash', 'path shorter', 'path longer']) as part;
insert into altered
select tree, size, sequence, root, part, case part
    when 'sequence' then jsonb_set(proof, '{entry,sequence}', to_jsonb(sequence + 1))
    when 'sequence before' then jsonb_set(proof, '{entry,sequence}', to_jsonb(sequence - 1))
    when 'context' then jsonb_set(proof, '{entry,context}', '"inclusion2"')
    when 'lamport' then jsonb_set(proof, '{entry,lamport}', '77')
    when 'origin' then jsonb_set(proof, '{entry,origin}', '"somebody"')
    when 'appended_at' then jsonb_set(proof, '{entry,appended_at}', '1')
    when 'key' then jsonb_set(proof, '{entry,key}', '"key"')
    when 'id' then jsonb_set(proof, '{entry,id}', '"id"')
    when 'payload' then jsonb_set(proof, '{entry,payload}', '"00"')
    when 'metadata' then jsonb_set(proof, '{entry,metadata}', '"{\"i\": 0}"')
    when 'metadata space' then jsonb_set(proof, '{entry,metadata}', '"{\"i\":1}"')
    when 'salt' then jsonb_set(proof, '{entry,salt}', to_jsonb(repeat('00', 16)))
    when 'tree' then jsonb_set(proof, '{tree}', case tree when 'bitcoin' then '"rfc6962"' else '"bitcoin"' end::jsonb)
    end
  from proofs cross join unnest(array['sequence', 'sequence before', 'context', 'lamport', 'origin', 'appended_at',
      'key', 'id', 'payload', 'metadata', 'metadata space', 'salt', 'tree']) as part;
-- Sequence 0 is malformed, not false; and of two leaves, both trees have the same path.
delete from altered where part = 'sequence before' and sequence = 1 or part = 'tree' and size = 2;
select part, count(*) > 100 as many, bool_or(ledger_verify_proof(proof, size, root)) as accepted,
       bool_or(ledger_verify_proof('inclusion', proof)) as accepted_here
  from altered group by part order by part;

-- What the proof itself claims of size and root is not what it is judged by.
select bool_and(ledger_verify_proof(jsonb_set(jsonb_set(proof, '{size}', '99'), '{root}', to_jsonb(repeat('00', 32))), size, root))
       as verifies
  from proofs;
rollback;
