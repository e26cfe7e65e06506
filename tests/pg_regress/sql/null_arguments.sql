-- NULL is refused where it has no meaning, and named.

select ledger_append('nulls', 'facts', 'x');
create function pg_temp.try(statement text) returns text language plpgsql as $$
begin
    execute statement;
    return 'accepted';
exception when others then
    return sqlstate || ' ' || sqlerrm;
end $$;
select statement, pg_temp.try(statement) from unnest(array[
    $$select ledger_append(null, 'facts', 'x')$$, $$select ledger_append('nulls', null, 'x')$$,
    $$select ledger_append('nulls', 'facts', null::text)$$, $$select ledger_append('nulls', 'facts', null::bytea)$$,
    $$select ledger_append('nulls', 'facts', null::jsonb)$$, $$select ledger_append('nulls', 'facts', null)$$,
    $$select * from ledger_append_batch(null, 'facts', '{x}')$$, $$select * from ledger_append_batch('nulls', null, '{x}')$$,
    $$select * from ledger_append_batch('nulls', 'facts', null)$$, $$select * from ledger_append_rows('nulls', array['a', null], '{x,y}')$$,
    $$select * from ledger_get(null)$$, $$select * from ledger_get('nulls', null)$$,
    $$select * from ledger_head(null)$$,
    $$select ledger_root(null)$$, $$select ledger_root('nulls', 1, null)$$,
    $$select ledger_proof(null, 1)$$, $$select ledger_proof('nulls', null)$$, $$select ledger_proof('nulls', 1, 1, null)$$, $$select ledger_proof('nulls', 1, 1, 'bitcoin', null)$$,
    $$select ledger_verify_proof(null, 1, sha256('x'))$$, $$select ledger_verify_proof(ledger_proof('nulls', 1), null, sha256('x'))$$,
    $$select ledger_verify_proof(ledger_proof('nulls', 1), 1, null)$$,
    $$select ledger_verify_proof(null::text, ledger_proof('nulls', 1))$$, $$select ledger_verify_proof('nulls', null)$$,
    $$select ledger_consistency(null, 1)$$, $$select ledger_consistency('nulls', null)$$,
    $$select ledger_verify_consistency(null, 1, sha256('x'), 1, sha256('x'))$$, $$select ledger_verify_consistency(ledger_consistency('nulls', 1), null, sha256('x'), 1, sha256('x'))$$,
    $$select ledger_verify_consistency(ledger_consistency('nulls', 1), 1, null, 1, sha256('x'))$$, $$select ledger_verify_consistency(ledger_consistency('nulls', 1), 1, sha256('x'), null, sha256('x'))$$,
    $$select ledger_verify_consistency(ledger_consistency('nulls', 1), 1, sha256('x'), 1, null)$$,
    $$select ledger_channel(null)$$, $$select ledger_listen(null)$$, $$select ledger_unlisten(null)$$,
    $$select ledger_set_node(null)$$, $$select ledger_adopt_node(null)$$, $$select ledger_grant(null, null)$$]) as statement;

-- Where it means something: all, the present size, no key, no received time.
begin;
select ledger_append('nulls', 'facts', 'x', received => null) as appended;
select count(*) from ledger_get('nulls', 0, null, null);
select ledger_root('nulls', null) = ledger_root('nulls', 2) as whole;
select ledger_proof('nulls', 1, null) = ledger_proof('nulls', 1, 2) as whole;
select ledger_consistency('nulls', 1, null) = ledger_consistency('nulls', 1, 2) as whole;
select * from ledger_check(null);
select ledger_rebuild(null) > 0 as all_contexts;
select ledger_text(null) is null as no_text;
rollback;
