-- However often a time from far ahead is received, the Lamport clock does not come near its end: it goes no further
-- than 2^40 beyond the wall clock in microseconds.

begin;
-- The wall clock is between 2^50 and 2^51; 2^53 - 1 is the last time there is.
create function pg_temp.now() returns bigint language sql volatile as $$ select (extract(epoch from clock_timestamp()) * 1000000)::bigint $$;
select pg_temp.now() between 1::bigint << 50 and 1::bigint << 51 as clock_as_assumed;
create function pg_temp.leap(attempts int) returns table (taken text, refused text, states text[]) language plpgsql as $$
declare
    local bigint := 0;
    accepted int := 0;
    seen text[] := '{}';
begin
    for i in 1 .. attempts loop
        begin
            perform ledger_append('leaps', '', 'x'::bytea, received => local + (1::bigint << 40));
            local := (select lamport from converge_ledger.entries where context_id = 'leaps' order by sequence desc limit 1);
            accepted := accepted + 1;
        exception when others then
            if not sqlstate = any (seen) then seen := seen || sqlstate::text; end if;
        end;
    end loop;
    return query select case when accepted between 1000 and 3000 then 'some' else accepted::text end,
                        case when attempts - accepted > 0 then 'the others' else 'none' end, seen;
end $$;
select * from pg_temp.leap(10000);
select lamport <= pg_temp.now() + (1::bigint << 40) + 1 as bounded, lamport > 1::bigint << 50 as far, lamport < 1::bigint << 52 as half_is_left
  from ledger_head('leaps');
-- The error tells the times.
create function pg_temp.refusal() returns table (state text, message text, detail text, hint text) language plpgsql as $$
begin
    perform ledger_append('leaps', '', 'x'::bytea, received => (1::bigint << 53) - 2);
exception when others then
    get stacked diagnostics state = returned_sqlstate, message = message_text, detail = pg_exception_detail, hint = pg_exception_hint;
    detail := regexp_replace(detail, '\d{12,}', 'N', 'g');
    return next;
end $$;
select * from pg_temp.refusal() \gx
-- The clock goes on, and repeats of what was received are taken.
select ledger_append('leaps', '', 'y') > 1000 as appended;
select count(*) as not_rising from (select lamport - lag(lamport) over (order by sequence) as step from ledger_get('leaps')) as s where step <= 0;
select ledger_append('leaps', '', 'z', received => lamport) > 1000 as appended from ledger_head('leaps');
select * from ledger_check('leaps');
rollback;
