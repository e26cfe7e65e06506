-- A context to load into, one that stays untouched, one to warm up with; what times a call.

insert into converge_ledger.entries (context_id, key, payload, metadata)
select context_id, 'measured', decode(repeat('62', 100), 'hex'), '{"src": "bench"}'
  from (values ('loaded'), ('untouched'), ('warm')) as context (context_id)
 cross join generate_series(1, 10000);
vacuum (freeze, analyze);

-- Milliseconds of one call. Each runs in a transaction of its own: within one, the head of a context
-- is found once.
create function bench.time_call(context text, operation text) returns double precision
    language plpgsql as $$
declare
    started timestamptz := clock_timestamp();
begin
    case operation
        when 'ledger_get, the last 10' then perform * from ledger_get(context, 9990, 10);
        when 'ledger_root' then perform ledger_root(context);
        when 'ledger_head' then perform * from ledger_head(context);
        when 'ledger_append' then perform ledger_append(context, 'measured', '\x62'::bytea);
    end case;
    return extract(epoch from clock_timestamp() - started) * 1e3;
end
$$;

-- Waits on a standby until it has replayed the log up to a position, for a minute at most.
create function bench.await_replay(wanted pg_lsn) returns void language plpgsql as $$
declare
    deadline constant timestamptz := clock_timestamp() + interval '1 minute';
begin
    while pg_last_wal_replay_lsn() < wanted loop
        if clock_timestamp() > deadline then
            raise exception 'the standby did not replay % within a minute', wanted;
        end if;
        perform pg_sleep(0.02);
    end loop;
end
$$;
