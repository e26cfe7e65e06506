-- PL/pgSQL exception blocks are savepoints as well: nested, in loops, and with what the handler appends.

begin;
-- A block that fails after it appended; its handler appends instead.
do $$
begin
    perform ledger_append('exception', '', 'a');
    begin
        perform ledger_append('exception', '', 'lost');
        perform 1 / 0;
    exception when division_by_zero then
        perform ledger_append('exception', '', 'b');
    end;
    perform ledger_append('exception', '', 'c');
    -- Nested: the inner block is kept, the outer one is lost with it.
    begin
        perform ledger_append('exception', '', 'lost');
        begin
            perform ledger_append('exception', '', 'lost');
            perform ledger_append('exception, second', '', 'lost');
        exception when others then
            raise 'never';
        end;
        perform 1 / 0;
    exception when division_by_zero then
        null;
    end;
    -- Nested: the inner block is lost, the outer one is kept.
    begin
        perform ledger_append('exception', '', 'd');
        begin
            perform ledger_append('exception', '', 'lost');
            perform ledger_append('exception', '$', 'refused');
        exception when reserved_name then
            perform ledger_append('exception', '', 'e');
        end;
        perform ledger_append('exception', '', 'f');
    exception when others then
        raise 'never';
    end;
    perform ledger_append('exception, second', '', 'a');
end $$;
select context_id, sequence, lamport, ledger_text(payload)
  from converge_ledger.entries where context_id like 'exception%' order by context_id, sequence;

-- A thousand blocks, every third of which fails, over contexts that are new in some of them.
do $$
begin
    for i in 1 .. 1000 loop
        begin
            perform ledger_append('exception, loop', '', int4send(i));
            perform ledger_append('exception, loop ' || i % 7, '', int4send(i));
            insert into converge_ledger.entries (context_id, payload)
            values ('exception, loop', int4send(-i)), ('exception, loop ' || i, int4send(i));
            if i % 3 = 0 then perform 1 / 0; end if;
        exception when division_by_zero then
            if i % 2 = 0 then perform ledger_append('exception, loop', 'handler', int4send(i)); end if;
        end;
    end loop;
end $$;
-- 667 blocks of two entries and 166 handlers.
select count(*), max(sequence), max(lamport),
       count(*) filter (where key = 'handler') as handlers
  from ledger_get('exception, loop');
select count(*) as contexts from converge_ledger.contexts where context_id like 'exception, loop _%';

-- The same in a depth of a hundred.
create function pg_temp.deep(depth int) returns void language plpgsql as $$
begin
    perform ledger_append('exception, deep', '', int4send(depth));
    if depth = 100 then raise division_by_zero; end if;
    begin
        perform pg_temp.deep(depth + 1);
        if depth % 2 = 0 then raise division_by_zero; end if;
    exception when division_by_zero then
        perform ledger_append('exception, deep', 'handler', int4send(depth));
    end;
end $$;
select pg_temp.deep(1);
-- Each even level gives up what lies below it: of all, the first two levels and one handler remain.
select sequence, key, payload from ledger_get('exception, deep') order by sequence limit 5;
select count(*), max(sequence) from ledger_get('exception, deep');

-- Errors of the ledger itself, caught, with what they left behind.
do $$
begin
    perform ledger_append('exception, errors', '', 'a', id => 'a');
    for i in 1 .. 300 loop
        begin
            case i % 4
                when 0 then perform ledger_append('exception, errors', '', 'b', id => 'a');
                when 1 then perform ledger_append('exception, errors', '$', 'b');
                when 2 then perform ledger_append('exception, errors', '', 'b', '[]');
                else perform ledger_append('exception, errors', '', 'b', received => -1);
            end case;
        exception when others then
            null;
        end;
        perform ledger_append('exception, errors', '', int4send(i));
    end loop;
end $$;
select count(*), max(sequence), max(lamport) from ledger_get('exception, errors');

select * from ledger_check();
rollback;

-- Procedures that commit on the way.
create procedure pg_temp.commits() language plpgsql as $$
begin
    for i in 1 .. 5 loop
        perform ledger_append('exception, committed', '', int4send(i));
        if i % 2 = 0 then rollback; else commit; end if;
    end loop;
end $$;
call pg_temp.commits();
select sequence, lamport, payload from ledger_get('exception, committed');
select * from ledger_check('exception, committed');
