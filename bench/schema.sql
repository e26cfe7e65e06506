-- What every topic needs: the extension, the two tables to compare with, and a place for measurements.

create extension converge_ledger;
create schema bench;

-- The plain table: the same columns and primary key, no trigger. What a ledger assigns is constant
-- here or given by the client.
create table bench.plain (
    like converge_ledger.entries including defaults,
    constraint plain_pkey primary key (context_id, sequence)
);
alter table bench.plain
    alter appended_at set default clock_timestamp(),
    alter origin set default 'postgres-00000000', -- as long as the ledger's
    alter salt set default decode(repeat('5a', 16), 'hex'),
    alter leaf_hash set default decode(repeat('5a', 32), 'hex');

-- The hash chain that a user would write in PL/pgSQL: the same columns, a head row per context.
create table bench.chain (
    like bench.plain including defaults,
    constraint chain_pkey primary key (context_id, sequence)
);
create table bench.chain_head (
    context_id text collate "C" primary key,
    sequence   bigint not null,
    hash       bytea  not null
);
create function bench.link() returns trigger language plpgsql as $$
begin
    loop
        -- The row lock makes writers of one context wait for each other.
        update bench.chain_head
           set sequence = chain_head.sequence + 1,
               hash = sha256(chain_head.hash || convert_to(
                   new.context_id || new.key || new.id || new.metadata::text
                       || (chain_head.sequence + 1), 'UTF8') || new.payload)
         where context_id = new.context_id
        returning sequence, hash into new.sequence, new.leaf_hash;
        exit when found;
        insert into bench.chain_head values (new.context_id, 0, '') on conflict do nothing;
    end loop;
    new.lamport := new.sequence;
    return new;
end
$$;
create trigger link before insert on bench.chain
    for each row execute function bench.link();

-- Turns of one subject have the same repetition; a report compares what happened in the same turn.
create table bench.measurement (
    subject    text    not null,
    variant    text    not null,
    repetition integer not null,
    value      double precision not null
);

-- A median, and between which values it lies with 95 % confidence (order statistics; with 5 values or
-- fewer: all of them).
create type bench.estimate as (value double precision, lower double precision, upper double precision);

create function bench.estimate(measured double precision[]) returns bench.estimate
    language sql immutable as $$
    select percentile_cont(0.5) within group (order by value),
           min(value) filter (where rank >= (turns - 1.96 * sqrt(turns)) / 2),
           max(value) filter (where turns + 1 - rank >= (turns - 1.96 * sqrt(turns)) / 2)
      from (select value, row_number() over (order by value) as rank, count(*) over () as turns
              from unnest(measured) as value) as ranked
$$;

create view bench.median as
    select subject, variant, estimate.*
      from (select subject, variant, array_agg(value) as measured
              from bench.measurement group by subject, variant) as turns
     cross join lateral bench.estimate(measured) as estimate;

-- For every two variants of a subject: the median of their ratios within each turn.
create view bench.ratio as
    select subject, variant, base, estimate.*
      from (select one.subject, one.variant, other.variant as base,
                   array_agg(one.value / nullif(other.value, 0)) as measured
              from bench.measurement one
              join bench.measurement other using (subject, repetition)
             group by one.subject, one.variant, other.variant) as turns
     cross join lateral bench.estimate(measured) as estimate;

-- Three digits that count.
create function bench.rounded(value double precision) returns text language sql immutable as $$
    select round(value::numeric, case when value = 0 or abs(value) >= 100 then 0 when abs(value) >= 10 then 1
                                      when abs(value) >= 1 then 2 else 3 end)::text
$$;

create function bench.spread(estimate bench.estimate) returns text language sql immutable as $$
    select bench.rounded($1.value)
           || case when $1.lower = $1.upper then '' -- a single value
                   else format(' (%s–%s)', bench.rounded($1.lower), bench.rounded($1.upper)) end
$$;

create function bench.spread(bench.ratio) returns text language sql immutable as $$
    select case when $1.variant = $1.base then '1'
                else bench.spread(($1.value, $1.lower, $1.upper)::bench.estimate) end
$$;

-- What this topic adds to the last table, in this order.
create table bench.verdict (
    number   integer generated always as identity,
    item     text not null,
    what     text not null,
    measured text not null,
    target   text not null,
    verdict  text not null
);

-- Holds an estimate against a target: comparison is '≥', '≤', or null for what is only reported.
-- "unsure" when the noise of the turns does not allow to say.
create function bench.judge(item text, what text, measured bench.estimate,
                            comparison text default null, target numeric default null,
                            unit text default '') returns void language sql as $$
    insert into bench.verdict (item, what, measured, target, verdict)
    select item, what, bench.spread(measured) || unit, coalesce(comparison || ' ' || target || unit, ''),
           case when comparison is null then 'reported'
                when sign * measured.lower >= sign * target
                 and sign * measured.upper >= sign * target then 'met'
                when sign * measured.lower < sign * target
                 and sign * measured.upper < sign * target then 'MISSED'
                else 'unsure' end
      from (select case comparison when '≥' then 1 else -1 end) as direction (sign)
$$;

create function bench.not_measured(item text, what text, reason text) returns void language sql as $$
    insert into bench.verdict (item, what, measured, target, verdict)
    values (item, what, '', '', 'not measured: ' || reason)
$$;

-- The same in the table of a topic.
create function bench.at_least(bench.ratio, target numeric) returns text
    language sql immutable strict as $$
    select format('≥ %s: %s%s', target, case when $1.value >= target then 'met' else 'MISSED' end,
                  case when $1.lower < target and $1.upper >= target then ', unsure' else '' end)
$$;

create function bench.at_most(value double precision, target numeric, unit text default '') returns text
    language sql immutable strict as $$
    select format('≤ %s%s: %s', target, unit, case when value <= target then 'met' else 'MISSED' end)
$$;

-- Fails when a benchmark did not do what it was timed for.
create function bench.assert(what text, holds boolean) returns void language plpgsql as $$
begin
    if holds is not true then
        raise exception 'not measured rightly: %', what;
    end if;
end
$$;

-- Makes the server own as many WAL segments as it keeps (min_wal_size): creating one on the way costs
-- 16 MB of zeros and an fsync, for whoever happens to need it.
create procedure bench.preallocate_wal() language plpgsql as $$
begin
    for segment in 1 .. pg_size_bytes(current_setting('min_wal_size'))
                        / pg_size_bytes(current_setting('wal_segment_size')) loop
        perform pg_logical_emit_message(false, 'bench', '');
        perform pg_switch_wal();
    end loop;
    execute 'checkpoint';
end
$$;
