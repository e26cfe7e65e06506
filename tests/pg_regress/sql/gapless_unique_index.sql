-- Where a user added a unique index, ON CONFLICT DO NOTHING gives rows up after they were stamped: they leave no gap.

begin;
create unique index only_once on converge_ledger.entries (context_id, payload) where key = 'once';
insert into converge_ledger.entries (context_id, key, payload)
values ('unique', 'once', 'a'), ('unique', 'once', 'a'), ('unique', 'once', 'b')
on conflict do nothing returning sequence, payload;
-- The last row of a statement, and the first of the next.
insert into converge_ledger.entries (context_id, key, payload)
values ('unique', 'once', 'c'), ('unique', 'once', 'b') on conflict do nothing returning sequence, payload;
insert into converge_ledger.entries (context_id, key, payload)
values ('unique', 'once', 'c'), ('unique', 'once', 'd') on conflict do nothing returning sequence, payload;
insert into converge_ledger.entries (context_id, key, payload)
values ('unique', 'once', 'd') on conflict do nothing returning sequence, payload;
select ledger_append('unique', 'once', 'e'::text);
-- The first row that a context ever gets.
insert into converge_ledger.entries (context_id, key, payload)
values ('unique', 'once', 'a') on conflict do nothing returning sequence;
-- Two contexts by turns.
insert into converge_ledger.entries (context_id, key, payload)
values ('unique', 'once', 'a'), ('unique, another', 'once', 'a'), ('unique', 'once', 'b'),
       ('unique, another', 'once', 'a'), ('unique, another', 'once', 'b'), ('unique', 'once', 'f')
on conflict do nothing returning context_id, sequence, payload;

-- Past a block of 256, with a row given up at each end of it.
insert into converge_ledger.entries (context_id, key, payload)
select 'unique, block', 'once', int4send(i / 2) from generate_series(2, 1200) as i order by i
on conflict do nothing;
select count(*), max(sequence) from ledger_get('unique, block');
select level, index from converge_ledger.subtrees where context_id = 'unique, block' order by level, index;

-- Without DO NOTHING it is an error, in the functions too, and the next append follows.
savepoint s;
\set VERBOSITY sqlstate
select ledger_append('unique', 'once', 'a'::text);
rollback to s;
insert into converge_ledger.entries (context_id, key, payload)
values ('unique', 'once', 'g'), ('unique', 'once', 'a');
rollback to s;
\set VERBOSITY default
select ledger_append('unique', 'once', 'g'::text);
select sequence, lamport, ledger_text(payload) from ledger_get('unique');
select * from ledger_check();
rollback;
