-- Waits until the subscription of this database has applied all that its publisher had written. Variables: location.

create or replace procedure pg_temp.wait(location pg_lsn) language plpgsql as $$
declare
    given_up timestamptz := clock_timestamp() + interval '10 minutes';
begin
    while not exists (select from pg_stat_subscription
                       where relid is null and latest_end_lsn >= location
                         and subid = (select oid from pg_subscription where subname = current_database())) loop
        commit;
        perform pg_sleep(0.005);
        if clock_timestamp() > given_up then
            raise exception 'the subscription does not arrive at %', location;
        end if;
    end loop;
end
$$;
call pg_temp.wait(:'location');
