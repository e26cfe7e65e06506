-- What both databases of the replica need to be measured.

set client_min_messages = warning;
create schema bench;

-- Up to which location of its origin a subscription has applied.
create function bench.applied(subscription text) returns pg_lsn language sql as $$
    select coalesce(pg_replication_origin_progress('pg_' || oid, false), '0/0')
      from pg_subscription where subname = subscription
$$;

create procedure bench.wait_until_applied(subscription text, location pg_lsn) language plpgsql as $$
declare
    given_up timestamptz := clock_timestamp() + interval '10 minutes';
begin
    while bench.applied(subscription) < location loop
        commit;
        perform pg_sleep(0.005);
        if clock_timestamp() > given_up then
            raise exception 'subscription "%" does not arrive at %', subscription, location;
        end if;
    end loop;
end
$$;

-- The same, and how many seconds that took. Starts the worker if it does not run, and ends it.
create procedure bench.apply(subscription text, location pg_lsn, inout seconds float8 default null)
    language plpgsql as $$
declare
    started timestamptz := clock_timestamp();
begin
    execute format('alter subscription %I enable', subscription);
    call bench.wait_until_applied(subscription, location);
    seconds := extract(epoch from clock_timestamp() - started);
    execute format('alter subscription %I disable', subscription);
    while exists (select from pg_stat_subscription where subname = subscription and pid is not null) loop
        commit;
        perform pg_sleep(0.005);
    end loop;
end
$$;

-- Waits until the initial copy is there.
create procedure bench.wait_until_copied() language plpgsql as $$
declare
    given_up timestamptz := clock_timestamp() + interval '10 minutes';
begin
    while exists (select from pg_subscription_rel where srsubstate not in ('s', 'r')) loop
        commit;
        perform pg_sleep(0.005);
        if clock_timestamp() > given_up then
            raise exception 'the initial copy does not end';
        end if;
    end loop;
end
$$;

-- Waits until every entry can be read. In a plain table everything can.
create table if not exists converge_ledger.unsettled ();
create procedure bench.wait_until_judged() language plpgsql as $$
declare
    given_up timestamptz := clock_timestamp() + interval '10 minutes';
begin
    while exists (select from converge_ledger.unsettled) loop
        commit;
        perform pg_sleep(0.005);
        if clock_timestamp() > given_up then
            raise exception 'entries wait to be judged for ever';
        end if;
    end loop;
end
$$;
