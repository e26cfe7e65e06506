-- One initial copy into an empty table. Variables: variant, turn, rows, origin (how to reach it), subscription.

set client_min_messages = warning;
checkpoint;
select clock_timestamp() as started \gset
create subscription :subscription connection :'origin' publication ledger;
call bench.wait_until_copied();
select extract(epoch from clock_timestamp() - :'started') as copied \gset
call bench.wait_until_judged();
select extract(epoch from clock_timestamp() - :'started') as readable \gset
drop subscription :subscription;

\pset tuples_only on
\pset format unaligned
\pset fieldsep '\t'
select 'rows copied', :'variant', :turn, count(*) from converge_ledger.entries where context_id like 'copied-%'
union all select 'copied', :'variant', :turn, :rows / :copied
union all select 'readable', :'variant', :turn, :rows / :readable;
