-- Sessions that wait, against the target; those that read as well do work of their own.
select bench.judge('11', format('writers beside 200 sessions that %s : alone, clients 16, synchronous_commit %s', what, subject),
                   (value, lower, upper), case when target is not null then '≥' end, target)
  from (values (1, 'waiting', 'wait for other contexts', 0.95), (2, 'following', 'follow their contexts', 0.95),
               (3, 'reading', 'read all of their entries', null))
       as wanted (number, variant, what, target)
  join bench.ratio using (variant)
 where base = 'alone'
 order by number, subject desc \g /dev/null
