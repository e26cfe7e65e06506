-- A transaction holds at most 1,000 locks of single contexts, however many it touches in savepoints that are rolled back or
-- released, and whatever it holds when it comes back from them.

create function pg_temp.held() returns int language sql volatile as $$
    select count(*)::int from pg_locks where locktype = 'userlock' and pid = pg_backend_pid()
$$;
-- Appends to `count` contexts and tells how many locks are held afterwards.
create function pg_temp.touch(name text, count int) returns int language plpgsql as $$
begin
    insert into converge_ledger.entries (context_id, payload) select name || ' ' || i, 'x' from generate_series(1, count) as i;
    return pg_temp.held();
end $$;
-- The same in a subtransaction that is rolled back.
create function pg_temp.try(name text, count int) returns int language plpgsql as $$
declare
    held int;
begin
    held := pg_temp.touch(name, count);
    raise exception sqlstate 'ZZ000';
exception when sqlstate 'ZZ000' then
    return held;
end $$;

-- Rolled back again and again: the locks go with the savepoint, and the count with them.
begin;
select pg_temp.touch('locks, kept', 600) as outside;
select max(pg_temp.try('locks, lost ' || i, 700)) as inside, pg_temp.held() as afterwards from generate_series(1, 20) as i;
select pg_temp.touch('locks, kept as well', 300) as outside;
select pg_temp.try('locks, kept', 600) as the_same_again, pg_temp.held() as afterwards;
select pg_temp.touch('locks, more', 600) as outside;
rollback;

-- Released ones: what was taken stays, and counts.
begin;
savepoint a;
select pg_temp.touch('locks, a', 400);
savepoint b;
select pg_temp.touch('locks, b', 400);
release b;
savepoint c;
select pg_temp.touch('locks, c', 400);
rollback to c;
select pg_temp.held();
savepoint d;
select pg_temp.touch('locks, d', 2000);
release d;
select pg_temp.touch('locks, e', 2000);
rollback to a;
select pg_temp.held();
select pg_temp.touch('locks, f', 2000);
select mode from pg_locks where pid = pg_backend_pid() and relation = 'converge_ledger.contexts'::regclass order by mode;
rollback;
-- Escalated in a savepoint that is rolled back: single locks again, and no more than before.
begin;
select pg_temp.touch('locks, kept', 100);
select pg_temp.try('locks, lost', 3000) as inside, pg_temp.held() as afterwards;
select mode from pg_locks where pid = pg_backend_pid() and relation = 'converge_ledger.contexts'::regclass order by mode;
select pg_temp.try('locks, lost', 3000) as inside, pg_temp.held() as afterwards;
select pg_temp.touch('locks, one more', 1);
commit;
select count(*) from converge_ledger.entries where context_id like 'locks%';
select context_id, sequence, kind, detail from ledger_check() where context_id like 'locks%';
