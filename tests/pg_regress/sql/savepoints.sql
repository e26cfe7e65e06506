-- Savepoints: what is rolled back leaves no gap, whether the context was touched before the savepoint, in it, or
-- again after it, and however deep it lies.

create function pg_temp.say(context text) returns text language sql stable as $$
    select coalesce(string_agg(sequence || '=' || ledger_text(payload), ' ' order by sequence), 'nothing')
      from converge_ledger.entries where context_id = context
$$;

-- Touched before, and in a savepoint that is rolled back.
begin;
select ledger_append('savepoint', '', 'a');
savepoint one;
select ledger_append('savepoint', '', 'lost');
select ledger_append('savepoint', '', 'lost as well');
rollback to one;
select ledger_append('savepoint', '', 'b');
rollback to one;
select ledger_append('savepoint', '', 'c');
release one;
select ledger_append('savepoint', '', 'd');
select pg_temp.say('savepoint'), (ledger_head('savepoint')).size;
select * from ledger_check();
rollback;

-- Touched first in a savepoint that is rolled back, and then again.
begin;
savepoint one;
select ledger_append('savepoint', '', 'lost');
rollback to one;
select ledger_append('savepoint', '', 'a');
savepoint two;
select ledger_append('savepoint', '', 'b');
select ledger_append('savepoint, second', '', 'b');
release two;
rollback to one;
select ledger_append('savepoint', '', 'c');
select ledger_append('savepoint, second', '', 'c');
select pg_temp.say('savepoint'), pg_temp.say('savepoint, second');
select * from ledger_check();
rollback;

-- Touched first two levels down; the inner one is released, the outer one rolled back.
begin;
savepoint outer_level;
savepoint inner_level;
select ledger_append('savepoint', '', 'a');
select ledger_append('savepoint', '', 'b');
release inner_level;
select ledger_append('savepoint', '', 'c');
savepoint inner_level;
select ledger_append('savepoint', '', 'lost');
rollback to inner_level;
select ledger_append('savepoint', '', 'd');
select pg_temp.say('savepoint');
rollback to outer_level;
select pg_temp.say('savepoint');
select ledger_append('savepoint', '', 'e');
select pg_temp.say('savepoint');
select * from ledger_check();
rollback;

-- Released level by level, then rolled back at the top.
begin;
select ledger_append('savepoint', '', 'a');
savepoint s1;
savepoint s2;
savepoint s3;
select ledger_append('savepoint', '', 'b');
release s3;
select ledger_append('savepoint', '', 'c');
release s2;
select ledger_append('savepoint', '', 'd');
rollback to s1;
select ledger_append('savepoint', '', 'e');
release s1;
select ledger_append('savepoint', '', 'f');
select pg_temp.say('savepoint');
select * from ledger_check();
rollback;

-- Several levels touch the context by turns, and each of them is undone.
begin;
savepoint s1;
select ledger_append('savepoint', '', '1');
savepoint s2;
select ledger_append('savepoint', '', '2');
savepoint s3;
select ledger_append('savepoint', '', '3');
savepoint s4;
select pg_temp.say('savepoint');
rollback to s4;
select ledger_append('savepoint', '', '4');
select pg_temp.say('savepoint');
rollback to s3;
select ledger_append('savepoint', '', 'third');
select pg_temp.say('savepoint');
rollback to s2;
select ledger_append('savepoint', '', 'second');
select pg_temp.say('savepoint');
rollback to s1;
select ledger_append('savepoint', '', 'first');
select pg_temp.say('savepoint');
select * from ledger_check();
rollback;

-- A sibling is released, the next one rolled back: what the released one did stays.
begin;
savepoint s1;
select ledger_append('savepoint', '', 'a');
release s1;
savepoint s1;
select ledger_append('savepoint', '', 'lost');
rollback to s1;
release s1;
savepoint s1;
select ledger_append('savepoint', '', 'b');
savepoint s2;
select ledger_append('savepoint', '', 'c');
release s2;
savepoint s2;
select ledger_append('savepoint', '', 'lost');
rollback to s2;
release s1;
select ledger_append('savepoint', '', 'd');
select pg_temp.say('savepoint');
select * from ledger_check();
rollback;

-- Failed statements, of one row and of many, in the middle of a context.
begin;
select ledger_append('savepoint', '', 'a');
savepoint s;
\set VERBOSITY sqlstate
insert into converge_ledger.entries (context_id, key, payload)
values ('savepoint', '', 'lost'), ('savepoint', '', 'lost'), ('savepoint', '$', 'refused');
rollback to s;
select ledger_append('savepoint', '', 'b');
savepoint s;
insert into converge_ledger.entries (context_id, payload)
select 'savepoint', convert_to((1 / (3 - i))::text, 'UTF8') from generate_series(1, 3) as i;
rollback to s;
select ledger_append('savepoint', '', 'c');
savepoint s;
select ledger_append('savepoint', '', 'lost'), 1 / (select 0);
rollback to s;
select * from ledger_append_batch('savepoint', '', array['lost', null]::bytea[]);
rollback to s;
\set VERBOSITY default
select ledger_append('savepoint', '', 'd');
select pg_temp.say('savepoint');
select * from ledger_check();
rollback;

-- Across the end of a block of 256: a block that was filled and undone is filled again with what stays.
begin;
insert into converge_ledger.entries (context_id, payload)
select 'savepoint', int4send(i) from generate_series(1, 250) as i;
savepoint s;
insert into converge_ledger.entries (context_id, payload)
select 'savepoint', int4send(-i) from generate_series(251, 600) as i;
select level, index from converge_ledger.subtrees where context_id = 'savepoint' order by level, index;
rollback to s;
select level, index from converge_ledger.subtrees where context_id = 'savepoint' order by level, index;
insert into converge_ledger.entries (context_id, payload)
select 'savepoint', int4send(i) from generate_series(251, 513) as i;
select level, index from converge_ledger.subtrees where context_id = 'savepoint' order by level, index;
select count(*), bool_and(payload = int4send(sequence::int)) as in_order from ledger_get('savepoint');
select * from ledger_check();
rollback;

-- A cursor that goes on after a rollback to a savepoint: what it appended in the savepoint is undone, its position is not.
begin;
declare c cursor for select i, ledger_append('savepoint', '', i::text) from generate_series(1, 5) as i;
fetch 1 from c;
savepoint s;
fetch 1 from c;
rollback to s;
fetch 1 from c;
release s;
fetch all from c;
select pg_temp.say('savepoint');
select * from ledger_check();
rollback;

-- The next transaction begins where the last one ended, whether that was committed or not.
begin;
select ledger_append('savepoint, committed', '', 'a');
savepoint s;
select ledger_append('savepoint, committed', '', 'lost');
rollback to s;
commit;
begin;
select ledger_append('savepoint, committed', '', 'lost');
rollback;
select ledger_append('savepoint, committed', '', 'b');
select pg_temp.say('savepoint, committed');
select * from ledger_check('savepoint, committed');
