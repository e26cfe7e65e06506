-- What rounds cost. Variables: entries (of the large contexts), turns.

select :entries / 100 as contexts, :entries / 5 as held, :entries / 40 as missing \gset

create function pg_temp.measured(of text, measure text) returns text language sql as $$
    select bench.spread((value, lower, upper)::bench.estimate) from bench.median where subject = split_part(of, ', ', 1) || ': ' || measure and variant = split_part(of, ', ', 2)
$$;

\echo
\echo 'A round of the reconciler: medians of' :turns 'turns'
\echo
select what, pg_temp.measured(of, 'milliseconds') as "milliseconds", pg_temp.measured(of, 'work') as "of work by both",
       pg_temp.measured(of, 'bytes') as "bytes received", pg_temp.measured(of, 'round trips') as "round trips"
  from (values (format('%s contexts of 100 entries, nothing has changed', :contexts), 'changes, unchanged'),
               ('the same, 10 contexts have changed', 'changes, 10 changed'),
               (format('one context of %s entries, nothing has changed', :entries), 'altered, unchanged'),
               ('the content of one entry is altered, a known suspect: it is found', 'altered, suspect'),
               ('… and restored', 'restored, suspect'),
               ('the leaf hash of one entry is altered: it is found', 'altered, root'),
               ('… and restored', 'restored, root'),
               (format('%s of %s entries are missing at the end: they are back', :missing, :held), 'lost, end'),
               (format('%s of %s entries are missing in the middle: they are back', :missing, :held), 'lost, middle')) as round (what, of) \g

select bench.assert('every round was measured', count(*) = 9) from (
    select from bench.median where subject like '%: milliseconds' and subject <> 'warm: milliseconds' and variant <> 'sound') as measured \g /dev/null

insert into bench.measurement
select 'changes: added', split_part(subject, ': ', 2), repetition, one.value - other.value
  from bench.measurement as one join bench.measurement as other using (subject, repetition)
 where subject in ('changes: milliseconds', 'changes: work') and one.variant = '10 changed' and other.variant = 'unchanged';

select bench.judge('5.3', 'reconciler: ' || what, (value * factor, lower * factor, upper * factor), '≤', target, unit)
  from (values (1, format('seconds of work of both nodes, %s contexts of 100 entries, nothing has changed', :contexts), 'changes: work', 'unchanged', 0.001, 1, ' s'),
               (2, 'the same, seconds until it is known', 'changes: milliseconds', 'unchanged', 0.001, 1, ' s'),
               (3, 'the same, bytes received', 'changes: bytes', 'unchanged', 1e-6, 1, ' MB'),
               (4, 'what 10 changed contexts add', 'changes: added', 'milliseconds', 1, 100, ' ms'),
               (5, 'what they add to the work of both nodes', 'changes: added', 'work', 1, 100, ' ms'),
               (6, format('round trips until one altered entry of %s is located, a known suspect', :entries), 'altered: round trips', 'suspect', 1, 6, ''),
               (7, 'the same, the whole round', 'altered: milliseconds', 'suspect', 1, 100, ' ms'),
               (8, 'round trips until one altered leaf hash among them is located, by the root', 'altered: round trips', 'root', 1, 6, ''),
               (9, 'the same, the whole round', 'altered: milliseconds', 'root', 1, 100, ' ms'),
               (10, format('%s of %s entries missing at the end: found, fetched, verified and placed', :missing, :held), 'lost: milliseconds', 'end', 0.001, 3, ' s'),
               (11, 'the same, missing in the middle', 'lost: milliseconds', 'middle', 0.001, 3, ' s'))
       as wanted (place, what, subject, variant, factor, target, unit)
  join bench.median using (subject, variant)
 order by place \g /dev/null
select bench.judge('5.3', 'reconciler: bytes received for missing entries : bytes that they take in the table', (lost.value / stored.value, lost.lower / stored.value, lost.upper / stored.value), '≤', 3)
  from bench.median as lost cross join bench.median as stored
 where lost.subject = 'lost: bytes' and lost.variant = 'end' and stored.subject = 'lost: stored bytes' \g /dev/null
