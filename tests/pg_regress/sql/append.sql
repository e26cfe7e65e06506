-- ledger_append stores bytes, text and JSON as they are, assigns everything else, and returns the sequence.

begin;

-- Bytes, text and JSON; the sequences follow each other.
select ledger_append('append', 'facts', '\x00ff'::bytea);
select ledger_append('append', 'facts', 'Grüße'::text);
select ledger_append('append', 'facts', '{"b": 1e2, "a": [true, null]}'::jsonb);
-- JSON that is no object is a payload too.
select ledger_append('append', 'facts', '"x"'::jsonb);
-- An untyped literal is text.
select ledger_append('append', '', 'literal');
-- Nothing is a payload as well, and a key may be empty.
select ledger_append('append', '', ''::bytea);

select sequence, key, payload, ledger_text(payload), metadata
  from converge_ledger.entries where context_id = 'append' order by sequence;

-- All that is assigned, in the entry itself.
select sequence, lamport, format, id, length(salt) as salt, length(leaf_hash) as leaf_hash,
       content_digest is null as whole, origin = (select name from converge_ledger.node) as own,
       appended_at between transaction_timestamp() and clock_timestamp() as on_time
  from converge_ledger.entries where context_id = 'append' order by sequence;
select count(distinct salt) as salts, count(distinct leaf_hash) as leaves
  from converge_ledger.entries where context_id = 'append';

-- Equal contents of another context: a sequence of its own.
select ledger_append('append, another', 'facts', '\x00ff'::bytea);

-- An error in between costs no sequence.
savepoint before_error;
select ledger_append('append', E'a\nb', 'x');
rollback to before_error;
select ledger_append('append', 'facts', 'after an error');

select * from ledger_check();
rollback;
