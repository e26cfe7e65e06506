-- What a superuser changes behind the ledger's back, ledger_check finds: one row per fault, with context, sequence, kind
-- and detail. The hashes in a detail vary with the salts and are masked.

-- The changes would be refused otherwise.
set converge_ledger.allow_drop = on;
begin;
insert into converge_ledger.entries (context_id, payload) values ('untouched', 'x');
insert into converge_ledger.entries (context_id, key, payload, metadata, id)
select 'tampered', (array['facts', 'traces'])[1 + i % 2], int4send(i), jsonb_build_object('i', i), 'id ' || i
  from generate_series(1, 9) as i;
insert into converge_ledger.entries (context_id, payload) select 'plain', int4send(i) from generate_series(1, 3) as i;
select * from ledger_check();

create function pg_temp.tamper(change text) returns table (context_id text, sequence bigint, kind text, detail text)
language plpgsql as $$
begin
    begin
        alter table converge_ledger.entries disable trigger all;
        execute change;
        alter table converge_ledger.entries enable always trigger "~ledger_stamp";
        alter table converge_ledger.entries enable always trigger ledger_append_only;
        alter table converge_ledger.entries enable always trigger ledger_append_only_statement;
        return query select f.context_id, f.sequence, f.kind,
                            regexp_replace(regexp_replace(regexp_replace(f.detail, '(its leaf) [0-9a-f]{64}.*', '\1'),
                                '[0-9a-f]{64}|[0-9]{16}', '…', 'g'), '-[0-9a-f]{8}\M', '-…', 'g')
                       from ledger_check() as f;
        -- Undone, with what was done to the triggers.
        raise exception using errcode = 'ZZ000';
    exception when sqlstate 'ZZ000' then
        null;
    end;
end $$;
create function pg_temp.change(what text) returns text language sql return
    'update converge_ledger.entries set ' || what || ' where context_id = ''tampered'' and sequence = 5';

-- Each field of an entry.
select f.* from unnest(array[
    $$payload = '\x00'$$, $$payload = '\x'$$, $$metadata = '{"i": 55}'$$, $$metadata = '{"i": 5.0}'$$, $$metadata = '{}'$$,
    $$salt = decode(repeat('00', 16), 'hex')$$, $$salt = '\x00'$$, $$key = 'other'$$, $$key = ''$$, $$key = '$takeover'$$,
    $$id = 'other'$$, $$id = ''$$, $$lamport = 6$$, $$lamport = 55$$, $$lamport = 4$$, $$origin = 'elsewhere'$$,
    $$appended_at = appended_at + interval '1 hour'$$, $$appended_at = appended_at - interval '1 hour'$$,
    $$appended_at = 'infinity'$$, $$appended_at = '1900-01-01'$$,
    $$format = 2$$, $$leaf_hash = sha256('x')$$, $$leaf_hash = '\x00'$$, $$leaf_hash = '\x'$$])
    with ordinality as c (change, n), lateral pg_temp.tamper(pg_temp.change(change)) as f order by n, f.sequence, f.kind;

-- What was empty can be told from what was not.
select f.* from unnest(array[$$id = 'other'$$, $$metadata = '{"i": 1}'$$, $$key = 'other'$$, $$payload = '\x00'$$])
    with ordinality as c (change, n),
    lateral pg_temp.tamper('update converge_ledger.entries set ' || change || ' where context_id = ''plain'' and sequence = 2') as f
 order by n;

-- Content.
select f.* from unnest(array[
    $$payload = null$$, $$salt = null$$, $$metadata = null$$, $$payload = null, metadata = null, salt = null$$,
    $$payload = null, metadata = null, salt = null, content_digest = sha256('x')$$,
    $$payload = null, metadata = null, salt = null, content_digest = sha256('\x02'::bytea || salt || int8send(4) || payload
        || convert_to(metadata::text, 'UTF8'))$$,
    $$content_digest = sha256('x')$$])
    with ordinality as c (change, n), lateral pg_temp.tamper(pg_temp.change(change)) as f order by n, f.sequence, f.kind;

-- Order: rows removed, renumbered, exchanged, repeated.
select f.* from pg_temp.tamper($$delete from converge_ledger.entries where context_id = 'tampered' and sequence = 5$$) as f;
select f.* from pg_temp.tamper($$delete from converge_ledger.entries where context_id = 'tampered' and sequence in (1, 4, 5, 6)$$) as f;
select f.* from pg_temp.tamper(pg_temp.change('sequence = 50')) as f;
select f.* from pg_temp.tamper(pg_temp.change('sequence = 0')) as f;
select f.* from pg_temp.tamper($$update converge_ledger.entries set context_id = 'untouched', sequence = 2
    where context_id = 'tampered' and sequence = 9$$) as f;
select f.* from pg_temp.tamper($$update converge_ledger.entries set sequence = sequence + 1000 where context_id = 'tampered' and sequence in (5, 6);
    update converge_ledger.entries set sequence = case sequence when 1005 then 6 else 5 end
     where context_id = 'tampered' and sequence > 1000$$) as f;
select f.* from pg_temp.tamper($$alter table converge_ledger.entries drop constraint entries_pkey;
    drop index converge_ledger.entries_id_key;
    insert into converge_ledger.entries select * from converge_ledger.entries where context_id = 'tampered' and sequence = 5$$) as f
 where kind <> 'schema';
-- The last entry leaves no trace in its own context: that is what checkpoints and replicas are for.
select count(*) from pg_temp.tamper($$delete from converge_ledger.entries where context_id = 'tampered' and sequence = 9$$) as f;
-- Several faults, each with its row.
select f.* from pg_temp.tamper($$update converge_ledger.entries set payload = '\x00' where sequence in (2, 4, 9) or context_id = 'untouched'$$) as f;
-- An id given twice.
select f.* from pg_temp.tamper($$drop index converge_ledger.entries_id_key;
    update converge_ledger.entries set id = 'id 4' where context_id = 'tampered' and sequence = 5$$) as f where kind <> 'schema';

-- One context only; its schema is checked as well.
select * from ledger_check('tampered');
savepoint s;
\set VERBOSITY default
select * from ledger_check('no such context');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select * from ledger_check('');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
rollback;
