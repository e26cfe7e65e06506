-- Metadata is hashed as PostgreSQL prints the jsonb value, not as it was written. The texts are those of the
-- vectors of format 1.

\getenv source PG_ABS_SRCDIR
\set oracle :source '/oracle/format_1.sql'
\set ECHO none
\i :oracle
\set ECHO all
begin;
create temp table vector (number int, json jsonb, hashed text);
insert into vector values
    (1, '{"b":2,"a":1}', '{"a": 1, "b": 2}'),
    (2, '{"aa":1,"b":2}', '{"b": 2, "aa": 1}'),
    (3, '{"a":1,"a":2}', '{"a": 2}'),
    (4, '{"x":1e2,"y":1.0,"z":1.50e1}', '{"x": 100, "y": 1.0, "z": 15.0}'),
    (5, '{"x":-0,"y":-0.0}', '{"x": 0, "y": 0.0}'),
    (6, '{"u":"\u00e4\n"}', '{"u": "ä\n"}'),
    (7, '{"bb":1,"ä":2}', '{"bb": 1, "ä": 2}'),
    (8, '{ }', '{}');
insert into converge_ledger.entries (context_id, payload, metadata)
select 'metadata text', 'x', json from vector order by number;
select number, metadata::text = hashed as as_printed,
       (ledger_proof('metadata text', number)->'entry'->>'metadata') = hashed as as_proved,
       leaf_hash = sha256('\x00'::bytea || '\x01' || pg_temp.str(context_id) || int8send(sequence)
           || int8send(lamport) || pg_temp.str(origin) || int8send(pg_temp.microseconds(appended_at))
           || pg_temp.str(key) || pg_temp.str(id)
           || sha256('\x02'::bytea || salt || int8send(octet_length(payload)) || payload
                     || convert_to(hashed, 'UTF8'))) as as_hashed
  from vector join converge_ledger.entries on context_id = 'metadata text' and sequence = number
 order by number;

-- Equal as jsonb, but not as text: two leaves.
insert into converge_ledger.entries (context_id, payload, metadata)
values ('metadata scale', 'x', '{"n": 1.0}'), ('metadata scale', 'x', '{"n": 1.00}');
select count(distinct metadata) as equal, count(distinct metadata::text) as texts,
       bool_and(leaf_hash = pg_temp.leaf(e)) as right_leaves
  from converge_ledger.entries as e where context_id = 'metadata scale';
rollback;
