-- What ledger_check calls a fault of the data, the scrub finds as well, at the same place; where the one finds nothing, neither does
-- the other. The one exception: whether an $erase names an entry without content is a question to all that follows.

-- A database of its own: the scrub reads all contexts that there are.
\set home :DBNAME
create database regress_scrub_and_check;
\c regress_scrub_and_check
create extension converge_ledger;
set client_min_messages = error;
begin;
insert into converge_ledger.entries (context_id, payload) values ('scrub other', 'x');
insert into converge_ledger.entries (context_id, key, payload, metadata, id)
select 'scrub', (array['facts', 'traces'])[1 + i % 2], int4send(i), jsonb_build_object('i', i), 'id ' || i
  from generate_series(1, 1000) as i;
select ledger_scrub();

create function pg_temp.str(value text) returns bytea language sql
    return int4send(octet_length(value)) || convert_to(value, 'UTF8');
create function pg_temp.digest(e converge_ledger.entries) returns bytea language sql return
    sha256('\x02' || e.salt || int8send(octet_length(e.payload)) || e.payload || convert_to(e.metadata::text, 'UTF8'));
create function pg_temp.leaf(e converge_ledger.entries) returns bytea language sql return sha256(
    '\x0001' || pg_temp.str(e.context_id) || int8send(e.sequence) || int8send(e.lamport) || pg_temp.str(e.origin)
    || int8send((extract(epoch from e.appended_at) * 1000000)::bigint) || pg_temp.str(e.key) || pg_temp.str(e.id)
    || pg_temp.digest(e));
-- Makes changes, lets both look, and undoes all.
create function pg_temp.compare(change text)
    returns table (faults bigint, missed text, false_alarms bigint) language plpgsql as $$
begin
    begin
        alter table converge_ledger.entries disable trigger all;
        execute change;
        alter table converge_ledger.entries enable always trigger "~ledger_stamp";
        alter table converge_ledger.entries enable always trigger ledger_append_only;
        alter table converge_ledger.entries enable always trigger ledger_append_only_statement;
        perform ledger_scrub();
        create temp table found as select * from ledger_check() f where f.kind <> 'schema' and f.detail not like '%without a gap';
        select count(*), string_agg(f.sequence || ' ' || f.kind, ', ' order by f.sequence) filter (where not exists (
                   select from converge_ledger.incidents i
                    where i.context_id = f.context_id and i.resolved_at is null
                      -- A subtree is left alone where an entry below it is at fault.
                      and f.sequence >= i.sequence
                      and f.sequence <= (i.evidence->>'last')::bigint + case f.kind when 'subtree' then 255 else 0 end))
          into faults, missed from found f;
        select count(*) into false_alarms from converge_ledger.incidents i where i.resolved_at is null and faults = 0;
        raise exception using errcode = 'ZZ000';
    exception when sqlstate 'ZZ000' then
        null;
    end;
    return next;
end $$;
create function pg_temp.change(what text) returns text language sql return
    'update converge_ledger.entries set ' || what || ' where context_id = ''scrub'' and sequence = 500';

select change, compared.* from unnest(array[
    $$payload = '\x00'$$, $$payload = '\x'$$, $$metadata = '{"i": 55}'$$, $$metadata = '{"i": 500.0}'$$, $$metadata = '{}'$$,
    $$salt = decode(repeat('00', 16), 'hex')$$, $$salt = '\x00'$$, $$key = 'other'$$, $$key = ''$$, $$key = '$takeover'$$,
    $$id = 'other'$$, $$id = ''$$, $$lamport = 501$$, $$lamport = 5500$$, $$lamport = 499$$, $$origin = 'elsewhere'$$,
    $$appended_at = appended_at + interval '1 hour'$$, $$appended_at = appended_at - interval '1 hour'$$,
    $$appended_at = 'infinity'$$, $$appended_at = '1900-01-01'$$, $$format = 2$$, $$leaf_hash = sha256('x')$$, $$leaf_hash = '\x00'$$,
    $$leaf_hash = '\x'$$, $$payload = null$$, $$salt = null$$, $$metadata = null$$, $$payload = null, metadata = null, salt = null$$,
    $$payload = null, metadata = null, salt = null, content_digest = sha256('x')$$,
    $$payload = null, metadata = null, salt = null, content_digest = pg_temp.digest(entries)$$,
    $$content_digest = sha256('x')$$, $$payload = null, content_digest = pg_temp.digest(entries)$$,
    $$sequence = 50000$$, $$sequence = 0$$, $$sequence = -5$$])
    as change, pg_temp.compare(pg_temp.change(change)) as compared;

-- With the leaf that a forger would write.
select change, compared.* from unnest(array[
    $$lamport = 499$$, $$lamport = 5500$$, $$origin = 'elsewhere'$$, $$appended_at = appended_at - interval '1 hour'$$,
    $$key = '$takeover'$$, $$key = '$unknown'$$, $$payload = 'evil'$$]) as change,
    pg_temp.compare(pg_temp.change(change) || ';
        update converge_ledger.entries e set leaf_hash = pg_temp.leaf(e) where context_id = ''scrub'' and sequence = 500') as compared;

-- Rows removed, moved, exchanged, repeated.
select compared.* from unnest(array[
    $$delete from converge_ledger.entries where context_id = 'scrub' and sequence = 500$$,
    $$delete from converge_ledger.entries where context_id = 'scrub' and sequence in (1, 255, 256, 257, 500, 501)$$,
    $$update converge_ledger.entries set context_id = 'scrub other', sequence = 2 where context_id = 'scrub' and sequence = 1000$$,
    $$update converge_ledger.entries set sequence = -sequence where context_id = 'scrub' and sequence in (500, 700);
      update converge_ledger.entries set sequence = 1200 + sequence where context_id = 'scrub' and sequence < 0$$])
    as change, pg_temp.compare(change) as compared;

-- Several at random.
select setseed(0.42);
create temp table trial as
    select n, string_agg(format(what, 1 + floor(random() * 1000)), '; ') as change
      from generate_series(1, 60) as n
     cross join lateral (
           select what from unnest(array[
               $$update converge_ledger.entries set payload = 'evil' where context_id = 'scrub' and sequence = %s$$,
               $$update converge_ledger.entries set leaf_hash = sha256('evil') where context_id = 'scrub' and sequence = %s$$,
               $$update converge_ledger.entries e set payload = 'evil', leaf_hash = pg_temp.leaf(e) where context_id = 'scrub' and sequence = %s$$,
               $$update converge_ledger.entries set lamport = lamport + 1 where context_id = 'scrub' and sequence = %s$$,
               $$update converge_ledger.entries set key = 'forged' where context_id = 'scrub' and sequence = %s$$,
               $$delete from converge_ledger.entries where context_id = 'scrub' and sequence = %s$$]) as what
            where n is not null order by random() limit 4) as chosen
     group by n;
select count(*) as trials, sum(faults) > 100 as faults, string_agg(missed, '; ') as missed, sum(false_alarms) as false_alarms
  from trial, pg_temp.compare(change);
rollback;
\c :home
set client_min_messages = error;
drop database regress_scrub_and_check;
