-- A transaction that changes keys, or the table itself, between its appends leaves no gap: what became of a row is asked of the table,
-- whatever could suppress it is there no longer.

set converge_ledger.notify = off;
\set VERBOSITY terse

-- A unique index that suppresses a row and is dropped before the next one.
begin;
create unique index once on converge_ledger.entries (context_id, key, payload) where context_id like 'dropped%';
insert into converge_ledger.entries (context_id, key, payload) values ('dropped', 'k', 'a') returning sequence;
insert into converge_ledger.entries (context_id, key, payload) values ('dropped', 'k', 'a') on conflict do nothing returning sequence;
drop index converge_ledger.once;
insert into converge_ledger.entries (context_id, key, payload) values ('dropped', 'k', 'b') returning sequence;
select ledger_append('dropped', 'k', 'c'::text);
-- An exclusion constraint, by each way to append that follows.
alter table converge_ledger.entries add constraint once exclude using btree (context_id with =, key with =, payload with =)
    where (context_id like 'excluded%');
insert into converge_ledger.entries (context_id, key, payload)
values ('excluded', 'k', 'a'), ('excluded', 'k', 'a'), ('excluded', 'k', 'b'), ('excluded', 'k', 'b') on conflict do nothing returning sequence;
alter table converge_ledger.entries drop constraint once;
select * from ledger_append_batch('excluded', 'k', '{c,d}');
-- In a subtransaction; and one that is rolled back with the index.
savepoint s;
create unique index once on converge_ledger.entries (context_id, key, payload) where context_id like 'dropped%';
insert into converge_ledger.entries (context_id, key, payload) values ('dropped', 'k', 'a'), ('dropped', 'k', 'd'), ('dropped', 'k', 'd')
on conflict do nothing returning sequence;
release s;
drop index converge_ledger.once;
insert into converge_ledger.entries (context_id, key, payload) values ('dropped', 'k', 'e') returning sequence;
savepoint s;
create unique index once on converge_ledger.entries (context_id, key, payload) where context_id like 'dropped%';
insert into converge_ledger.entries (context_id, key, payload) values ('dropped', 'k', 'f'), ('dropped', 'k', 'a')
on conflict do nothing returning sequence;
rollback to s;
insert into converge_ledger.entries (context_id, key, payload) values ('dropped', 'k', 'g') returning sequence;
-- The last row of the transaction; and the first of a context, which does not begin then.
create unique index once on converge_ledger.entries (key, payload) where key = 'once';
insert into converge_ledger.entries (context_id, key, payload) values ('dropped', 'once', 'h') returning sequence;
insert into converge_ledger.entries (context_id, key, payload) values ('dropped', 'once', 'h') on conflict do nothing returning sequence;
insert into converge_ledger.entries (context_id, key, payload) values ('dropped, never begun', 'once', 'h') on conflict do nothing returning sequence;
drop index converge_ledger.once;
commit;
select context_id, array_agg(sequence order by sequence), string_agg(ledger_text(payload), '' order by sequence)
  from converge_ledger.entries where context_id ~ '^(dropped|excluded)' group by 1 order by 1;
select context_id from converge_ledger.contexts where context_id ~ '^(dropped|excluded)' order by 1;
select * from ledger_check('dropped') union all select * from ledger_check('excluded');

-- The table is another one: the extension was created anew, or entries were removed behind the triggers' back. What was appended before is gone
-- with it, and comes back with a savepoint.
begin;
select ledger_append('anew', 'k', 'a'::text), ledger_append('anew', 'k', 'b'::text);
savepoint s;
set local converge_ledger.allow_drop = on;
drop extension converge_ledger;
create extension converge_ledger;
select ledger_append('anew', 'k', 'c'::text);
insert into converge_ledger.entries (context_id, key, payload) values ('anew', 'k', 'd') returning sequence;
select context_id, sequence, ledger_text(payload) from converge_ledger.entries;
select context_id from converge_ledger.contexts;
rollback to s;
select ledger_append('anew', 'k', 'e'::text);
select sequence, ledger_text(payload) from ledger_get('anew');
rollback;

-- A constraint that appends to the context of its row, also where a block of 256 ends. The row is inserted after what its constraint appends.
begin;
create function pg_temp.follow(context text, key text) returns boolean language plpgsql as $$
begin
    case key
    when 'function' then perform ledger_append(context, 'echo', 'of function'::text);
    when 'insert' then insert into converge_ledger.entries (context_id, key, payload) values (context, 'echo', 'of insert');
    when 'undone' then
        begin
            perform ledger_append(context, 'gone', 'x'::text);
            perform 1 / 0;
        exception when division_by_zero then
            null;
        end;
    when 'deep' then perform ledger_append(context, 'function', 'of deep'::text);
    else null;
    end case;
    return true;
end $$;
alter table converge_ledger.entries add constraint follow check (pg_temp.follow(context_id, key)) not valid;
select first_sequence, last_sequence from ledger_append_batch('followed', 'k', array_fill('x'::bytea, array[254]));
select ledger_append('followed', 'deep', 'a'::text);
insert into converge_ledger.entries (context_id, key, payload) values ('followed', 'undone', 'b'), ('followed', 'insert', 'c') on conflict do nothing
returning sequence;
select sequence, lamport, key, ledger_text(payload) from ledger_get('followed', 253) order by sequence;
select level, index from converge_ledger.subtrees where context_id = 'followed';
select first_sequence, last_sequence from ledger_append_batch('followed', 'function', array_fill('x'::bytea, array[300]));
select level, index from converge_ledger.subtrees where context_id = 'followed' order by 1, 2;
select * from ledger_check('followed');
-- If ON CONFLICT suppresses the row then, nothing can be appended behind it, nor committed.
create unique index once on converge_ledger.entries (context_id, key) where context_id = 'suppressed';
insert into converge_ledger.entries (context_id, key, payload) values ('suppressed', 'x', 'a');
insert into converge_ledger.entries (context_id, key, payload) values ('suppressed', 'insert', 'b');
savepoint s;
create or replace function pg_temp.follow(context text, key text) returns boolean language plpgsql as $$
begin
    if key = 'insert' then perform ledger_append(context, 'more', 'x'::text); end if;
    return true;
end $$;
insert into converge_ledger.entries (context_id, key, payload) values ('suppressed', 'insert', 'c') on conflict do nothing;
\set VERBOSITY default
select ledger_append('suppressed', 'last', 'd'::text);
rollback to s;
select ledger_append('suppressed', 'last', 'd'::text);
select sequence, key, ledger_text(payload) from ledger_get('suppressed');
select * from ledger_check('suppressed');
rollback;
