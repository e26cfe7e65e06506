-- ledger_wait commits, and gives the last sequence of a context that has grown beyond a position, or null at the timeout.

call ledger_wait('awaited', timeout => '10 ms');
select ledger_append('awaited', 'k', 'one'), ledger_append('awaited', 'k', 'two');
call ledger_wait('awaited');
call ledger_wait('awaited', 1);
call ledger_wait('awaited', 2, '10 ms');
call ledger_wait('awaited', 0, '0', 77);
call ledger_wait(context => 'awaited', after_sequence => 2, timeout => '0');

-- In a procedure and in a block, what was done before is committed.
create table noted (note text);
create procedure notes_and_waits(inout last bigint) language plpgsql as $$
begin
    insert into noted values ('before');
    call ledger_wait('awaited', 0, '1 s', last);
    insert into noted values ('after');
    rollback;
end
$$;
call notes_and_waits(null);
select note from noted;
do $$
declare
    last bigint;
begin
    call ledger_wait('awaited', 2, '10 ms', last);
    raise notice 'at the timeout: %', last;
    for note in 1 .. 2 loop
        insert into noted values (note);
        call ledger_wait('awaited', note - 1, '1 s', last);
        raise notice 'found: %', last;
    end loop;
end
$$;
select note from noted order by note;
-- Also under a fixed snapshot: each look has a transaction of its own.
set default_transaction_isolation = 'repeatable read';
call ledger_wait('awaited', 2, '30 ms');
call ledger_wait('awaited', 1, '30 ms');
reset default_transaction_isolation;
-- What cannot commit refuses.
\set VERBOSITY sqlstate
do $$ declare last bigint; begin begin call ledger_wait('awaited', 0, '1 s', last); exception when division_by_zero then null; end; end $$;
create procedure with_settings() language plpgsql set work_mem = '4MB' as $$ declare n bigint; begin call ledger_wait('awaited', 0, '1 s', n); end $$;
call with_settings();
\set VERBOSITY terse
-- A loop over a query is held over the commit.
do $$
declare
    number integer;
    last bigint;
begin
    for number in select generate_series(1, 3) loop
        call ledger_wait('awaited', 1, '1 s', last);
        raise notice 'row %, last %', number, last;
    end loop;
end
$$;
drop procedure with_settings();
drop procedure notes_and_waits(bigint);
drop table noted;
