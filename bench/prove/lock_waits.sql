-- How often somebody waits for a lock, looking every 5 ms. Variables: milliseconds.

create table bench.lock_waits (looks integer, waiting integer);
create procedure bench.look_for_lock_waits(milliseconds integer) language plpgsql as $$
declare
    deadline constant timestamptz := clock_timestamp() + milliseconds * interval '1 ms';
    looks integer := 0;
    waiting integer := 0;
begin
    while clock_timestamp() < deadline loop
        looks := looks + 1;
        if exists (select from pg_locks where not granted) then
            waiting := waiting + 1;
        end if;
        perform pg_sleep(0.005);
    end loop;
    insert into bench.lock_waits values (looks, waiting);
end
$$;
call bench.look_for_lock_waits(:milliseconds);
