-- A proof whose form is wrong is an error, not false; what does not belong into it is refused as well.

begin;
insert into converge_ledger.entries (context_id, payload) select 'malformed', int4send(i) from generate_series(1, 5) as i;
commit;
\set VERBOSITY default
select ledger_verify_proof('{}', 5, sha256('x'));
\echo :LAST_ERROR_SQLSTATE
select ledger_verify_consistency('{}', 1, sha256('x'), 5, sha256('x'));
\echo :LAST_ERROR_SQLSTATE
create function pg_temp.judge(proof jsonb) returns text language plpgsql as $$
begin
    return case proof->>'kind' when 'consistency'
        then ledger_verify_consistency(proof, 2, ledger_root('malformed', 2, 'rfc6962'), 5, ledger_root('malformed', 5, 'rfc6962'))
        else ledger_verify_proof(proof, 5, ledger_root('malformed', 5)) end::text;
exception when others then
    return sqlstate || ' ' || sqlerrm;
end $$;
select pg_temp.judge(ledger_proof('malformed', 2)) as inclusion, pg_temp.judge(ledger_consistency('malformed', 2)) as consistency;

-- Of each member: absent, null, of another type; and one too many.
select kind, member, pg_temp.judge(proof #- member) as absent, pg_temp.judge(jsonb_set(proof, member, 'null')) as null,
       pg_temp.judge(jsonb_set(proof, member, 'true')) as boolean, pg_temp.judge(jsonb_set(proof, member, '{}')) as object
  from (values ('inclusion', ledger_proof('malformed', 2)), ('consistency', ledger_consistency('malformed', 2))) as p (kind, proof),
       lateral (select array[k] from jsonb_object_keys(proof) as k
                 union all select array['entry', k] from jsonb_object_keys(proof->'entry') as k) as m (member)
 order by kind desc, member;

select change, pg_temp.judge(proof || change::jsonb) as answer from ledger_proof('malformed', 2) as proof, unnest(array[
    '{"more": 1}', '{"format": 2}', '{"format": "1"}', '{"format": 1.0}', '{"format": 1.5}', '{"kind": "other"}', '{"kind": "Inclusion"}', '{"tree": "other"}',
    '{"size": 0}', '{"size": -1}', '{"size": 9007199254740992}', '{"size": 1e400}', '{"size": "5"}', '{"size": 5.5}',
    '{"root": ""}', '{"root": "00"}', '{"root": "zz"}', '{"leaf_hash": "AB"}', '{"path": []}', '{"path": "x"}', '{"path": [1]}', '{"path": ["00"]}', '{"path": [["00"]]}', '{"path": {}}',
    '{"entry": []}', '{"entry": {}}', '{"entry": "x"}']) as change;
-- Hexadecimal digits are lower case.
select pg_temp.judge(jsonb_set(proof, '{root}', to_jsonb(upper(proof->>'root')))) as upper_root,
       pg_temp.judge(jsonb_set(proof, '{path,0}', to_jsonb(upper(proof->'path'->>0)))) as upper_path,
       pg_temp.judge(jsonb_set(proof, '{entry,salt}', to_jsonb(upper(proof->'entry'->>'salt') || 'A'))) as odd_salt
  from ledger_proof('malformed', 2) as proof;
select change, pg_temp.judge(jsonb_set(proof, '{entry}', (proof->'entry') || change::jsonb)) as answer
  from ledger_proof('malformed', 2) as proof, unnest(array[
    '{"more": 1}', '{"content_digest": "00"}', '{"sequence": 0}', '{"sequence": -2}', '{"sequence": 2.5}', '{"sequence": 9007199254740992}', '{"lamport": 0}',
    '{"appended_at": -1}', '{"appended_at": 9007199254740992}', '{"context": ""}', '{"context": "a\nb"}', '{"origin": ""}', '{"key": "\u0001"}', '{"id": "\u007f"}',
    '{"payload": "0"}', '{"payload": "xx"}', '{"payload": "\\x00"}', '{"metadata": {}}', '{"metadata": "x"}', '{"metadata": "[]"}', '{"salt": "00"}', '{"salt": ""}']) as change;
select pg_temp.judge(jsonb_set(proof, '{entry,context}', to_jsonb(repeat('x', 513)))) as context,
       pg_temp.judge(jsonb_set(proof, '{entry,origin}', to_jsonb(repeat('x', 64)))) as origin,
       pg_temp.judge(jsonb_set(proof, '{entry,metadata}', to_jsonb('{"a": "' || repeat('x', 65536) || '"}'))) as metadata
  from ledger_proof('malformed', 2) as proof;
-- The values alone, in the order of the members: of the proof, of its entry, and of the other kind.
select pg_temp.judge(jsonb_set(proof, '{entry}', (select jsonb_agg(proof->'entry'->m order by place) from unnest(array[
           'context', 'sequence', 'lamport', 'origin', 'appended_at', 'key', 'id', 'payload', 'metadata', 'salt']) with ordinality as _ (m, place)))) as entry
  from ledger_proof('malformed', 2) as proof;
\set VERBOSITY terse
select ledger_verify_proof((select jsonb_agg(proof->m order by place) from unnest(array[
           'format', 'kind', 'tree', 'size', 'root', 'leaf_hash', 'path', 'entry']) with ordinality as _ (m, place)), 5, ledger_root('malformed', 5))
  from ledger_proof('malformed', 2) as proof;
\echo :LAST_ERROR_SQLSTATE
select ledger_verify_consistency((select jsonb_agg(proof->m order by place) from unnest(array[
           'format', 'kind', 'tree', 'context', 'old_size', 'old_root', 'size', 'root', 'path']) with ordinality as _ (m, place)),
           2, ledger_root('malformed', 2, 'rfc6962'), 5, ledger_root('malformed', 5, 'rfc6962'))
  from ledger_consistency('malformed', 2) as proof;
\echo :LAST_ERROR_SQLSTATE
-- What the type jsonb has put right before the function sees it: the last of two members counts, and numbers have one form.
select ledger_verify_proof(replace(proof::text, '"size": 5', '"size": 4, "size": 0.5e1')::jsonb, 5, ledger_root('malformed', 5)) as as_jsonb
  from ledger_proof('malformed', 2) as proof;

-- One kind for the other, and things that are no object.
\set VERBOSITY terse
select pg_temp.judge('[]') as array, pg_temp.judge('1') as number, pg_temp.judge('null') as null, pg_temp.judge('"x"') as string;
select ledger_verify_proof(ledger_consistency('malformed', 2), 5, sha256('x'));
\echo :LAST_ERROR_SQLSTATE
select ledger_verify_consistency(ledger_proof('malformed', 2), 2, sha256('x'), 5, sha256('x'));
\echo :LAST_ERROR_SQLSTATE
select ledger_verify_proof('malformed', '{}');
\echo :LAST_ERROR_SQLSTATE
-- A path of any length is judged without harm.
select pg_temp.judge(jsonb_set(proof, '{path}', (select jsonb_agg(repeat('0', 64)) from generate_series(1, 100000)))) as endless
  from ledger_proof('malformed', 2) as proof;
