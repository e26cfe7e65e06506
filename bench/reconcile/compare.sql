-- One round of the reconciler, as a session of its own sees it. Variables: subject, variant, turn, expected (a query that yields true
-- if `line`, the table of what was found and done, is as it must be).

select clock_timestamp() as started \gset
create temporary table line as select * from ledger_reconcile();
select extract(epoch from clock_timestamp() - :'started') * 1000 as milliseconds \gset
select bytes, contexts_compared, differing, repaired from converge_ledger.peer_rounds \gset
select (:expected) as holds \gset
\if :holds
\else
    table line limit 10 \g /dev/stderr
\endif
select bench.assert(format('%s, %s', :'subject', :'variant'), :'holds') \g /dev/null

\pset tuples_only on
\pset format unaligned
\pset fieldsep '\t'
select :'subject' || ': ' || measure, :'variant', :turn, value
  from (values ('milliseconds', :milliseconds::float8), ('bytes', :bytes), ('repaired', :repaired)) as measured (measure, value);
