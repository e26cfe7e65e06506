-- The stored leaf of an entry is SHA-256 over the bytes of format 1, computed here a second time in plain SQL,
-- for every field at its limits.

\getenv source PG_ABS_SRCDIR
\set oracle :source '/oracle/format_1.sql'
\set ECHO none
\i :oracle
\set ECHO all
begin;
select ledger_append('leaf', 'facts', 'x');
select ledger_append('leaf', '', ''::bytea);
select ledger_append('leaf', 'Schlüssel / 🙂', '\x00ff00'::bytea, '{"a": [1, {"b": null}]}', 1::bigint << 40, 'Übung-1');
select ledger_append(repeat('ß', 256), repeat('k', 512), 'limits', id => repeat('i', 128));
select ledger_append(E'\u00a0\u0085 "''\\', E'\u2028', E'\u0080', id => '; drop table');
select ledger_append(E'e\u0301', 'not normalised', 'x'), ledger_append(E'\u00e9', 'not normalised', 'x');
insert into converge_ledger.entries (context_id, payload, metadata)
values ('leaf, large', decode(repeat('00', 100000), 'hex'), '{}'),
       ('leaf, large', decode(repeat('ab', 3000), 'hex'), jsonb_build_object('text', repeat('x', 65000)));
-- Compressible and not; in line and out of it.
insert into converge_ledger.entries (context_id, payload)
select 'leaf, large', convert_to(string_agg(md5(i::text), ''), 'UTF8')
  from generate_series(1, 10000) as i, generate_series(1, 3) as n group by n;

select left(context_id, 12) as context, sequence, octet_length(payload) as bytes,
       leaf_hash = pg_temp.leaf(e) as right_leaf
  from converge_ledger.entries as e
 where context_id in ('leaf', 'leaf, large', repeat('ß', 256), E'\u00a0\u0085 "''\\', E'e\u0301', E'\u00e9')
 order by context_id, sequence;

-- Whatever other sessions appended as well, all of this database.
select bool_and(leaf_hash = pg_temp.leaf(e)) as right_leaves from converge_ledger.entries as e;
rollback;
