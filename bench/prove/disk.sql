-- Bytes on disk for the same entries, as long as the large context is not there.

-- What an application keeps that has no ledger: none of the columns that only a ledger needs.
create table bench.narrow as
    select context_id, sequence, appended_at, key, payload, metadata from bench.plain;
alter table bench.narrow add primary key (context_id, sequence);

\echo
\echo Bytes per entry on disk, payload of 100 bytes
\echo
with kept (number, what, tables) as (
    values (1, 'ledger', array['converge_ledger.entries', 'converge_ledger.subtrees',
                               'converge_ledger.contexts']::regclass[]),
           (2, 'plain table, same columns', '{bench.plain}'),
           (3, 'plain table, without lamport, format, origin, id, salt, hashes', '{bench.narrow}')
), size as (
    select number, what,
           sum(pg_table_size(relation)) filter (where not derived) as rows,
           sum(pg_indexes_size(relation)) filter (where not derived) as indexes,
           coalesce(sum(pg_total_relation_size(relation)) filter (where derived), 0) as derived,
           sum(pg_total_relation_size(relation)) as total,
           (select count(*) from bench.plain) as entries
      from kept cross join unnest(tables) as relation
     cross join lateral (select relation::text ~ 'subtrees|contexts') as kind (derived)
     group by number, what
)
select what, round(rows / entries, 1) as rows, round(indexes / entries, 1) as indexes,
       round(derived / entries, 1) as "subtrees, registry",
       round(total / entries, 1) as total,
       round(total / first_value(total) over (order by number desc), 2) as ratio
  from size order by number;
