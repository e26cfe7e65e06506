-- Digests by which nodes compare all contexts at once, and the cache of roots that they are made of.

\set home :DBNAME
create database regress_digest;
\c regress_digest
create extension converge_ledger;
\set VERBOSITY terse

-- Nothing yet.
select * from converge_ledger.peer_digests_1(8192);
select * from converge_ledger.peer_heads_1(8192, null);
select converge_ledger.refresh_digests();

insert into converge_ledger.entries (context_id, payload)
select name, int4send(i)
  from (values ('one', 1), ('two', 2), ('block', 256), ('more', 300), ('ä', 5), ('Zeta', 3), ('a', 1), ('ab', 1), ('a b', 7), (repeat('long', 128), 4)) as c (name, size),
       generate_series(1, size) as i;
insert into converge_ledger.entries (context_id, payload)
select 'order ' || i, 'x' from generate_series(1, 40) as i;

-- What the digests are defined as, over what the heads say.
create function pg_temp.defined(buckets integer) returns table (bucket integer, contexts bigint, digest bytea) language sql as $$
    with head as (
        select h.*, convert_to(h.context_id, 'UTF8') as name from converge_ledger.peer_heads_1(1, null) as h
    )
    select (('x' || encode(substring(sha256(name) for 4), 'hex'))::bit(32)::bigint % buckets)::integer, count(*),
           sha256('converge_ledger digest 1' || string_agg(int4send(octet_length(name)) || name || int8send(size) || rfc6962, '' order by name))
      from head group by 1
$$;
select count(*) as contexts, bool_and(h.size = (l).size and h.rfc6962 = ledger_root(h.context_id, h.size, 'rfc6962')) as right
  from converge_ledger.peer_heads_1(1, null) as h, lateral ledger_head(h.context_id) as l;
select array_agg(context_id order by n) = array_agg(context_id order by context_id collate "C") as in_order
  from converge_ledger.peer_heads_1(1, null) with ordinality as h (context_id, size, rfc6962, n);
create function pg_temp.compare() returns table (buckets integer, digests bigint, contexts numeric, wrong bigint) language sql as $$
    select b, count(x.contexts), sum(x.contexts), count(*) filter (where x.wrong)
      from unnest(array[1, 2, 16, 8192]) as b,
           lateral (select d.contexts, (d.contexts, d.digest) is distinct from (w.contexts, w.digest) as wrong
                      from converge_ledger.peer_digests_1(b) as d full join pg_temp.defined(b) as w using (bucket)) as x
     group by b order by b
$$;
select buckets, digests <= least(buckets, contexts) as fits, contexts, wrong from pg_temp.compare();
select b.bucket, (select array_agg(h.context_id) from converge_ledger.peer_heads_1(4, array[b.bucket]) as h where h.context_id !~ '^(order|long)') as contexts
  from generate_series(0, 3) as b (bucket);
-- Buckets may be named in any order and twice; none is an answer too.
select count(*) = (select sum(contexts) from converge_ledger.peer_digests_1(4) where bucket in (1, 3)) as both
  from converge_ledger.peer_heads_1(4, array[3, 1, 3]);
select count(*) from converge_ledger.peer_heads_1(4, '{}');

-- The cache is filled by calls, and by nothing else; filled in part, or wholly, it changes no answer.
create function pg_temp.all_digests() returns bytea language sql as $$
    select sha256(string_agg(int4send(bucket) || int8send(contexts) || digest, '' order by bucket)) from converge_ledger.peer_digests_1(64)
$$;
select pg_temp.all_digests() as before \gset
select count(*) from converge_ledger.digests;
select converge_ledger.refresh_digests(0), converge_ledger.refresh_digests(7), converge_ledger.refresh_digests(7);
select count(*) from converge_ledger.digests;
select pg_temp.all_digests() = :'before' as same;
select converge_ledger.refresh_digests();
select converge_ledger.refresh_digests();
select count(*), bool_and(d.rfc6962 = ledger_root(d.context_id, d.size, 'rfc6962')) as right from converge_ledger.digests as d;
select pg_temp.all_digests() = :'before' as same;

-- Each append shows, in the bucket of its context only, and leaves one row to refresh.
create temp table former as select * from converge_ledger.peer_digests_1(64);
select ledger_append('one', 'facts', 'x');
select array_agg(d.bucket) = (select array_agg(b) from generate_series(0, 63) as b where exists (
           select from converge_ledger.peer_heads_1(64, array[b]) where context_id = 'one')) as its_bucket
  from converge_ledger.peer_digests_1(64) as d join former as f using (bucket) where d.digest <> f.digest;
select buckets, contexts, wrong from pg_temp.compare();
select converge_ledger.refresh_digests();
select size, rfc6962 = ledger_root('one', 2, 'rfc6962') as right from converge_ledger.digests where context_id = 'one';
-- Statements see what is visible to them; the cache is rolled back with what it was filled from.
begin;
select ledger_append('one', 'facts', 'x'), (select size from converge_ledger.peer_heads_1(1, null) where context_id = 'one');
select size from converge_ledger.peer_heads_1(1, null) where context_id = 'one';
select converge_ledger.refresh_digests();
rollback;
select size from converge_ledger.peer_heads_1(1, null) where context_id = 'one';
select converge_ledger.refresh_digests();

\getenv tests PG_ABS_SRCDIR
\set past :tests '/common/past.sql'
\i :past
-- A row counts as it stands, if the context still ends with the entry that it names; else it is passed over and mended.
create function pg_temp.head(context text) returns text language sql as $$
    select case when h.rfc6962 = ledger_root(context, h.size, 'rfc6962') then 'right' when h.rfc6962 = sha256('wrong') then 'wrong' end || ' of ' || h.size
      from converge_ledger.peer_heads_1(1, null) as h where h.context_id = context
$$;
create function pg_temp.cached(change text) returns table (used text, refreshed bigint, then_used text) language plpgsql as $$
begin
    perform pg_temp.past('update converge_ledger.digests set ' || change || $q$ where context_id = 'more'$q$);
    used := pg_temp.head('more');
    refreshed := converge_ledger.refresh_digests();
    then_used := pg_temp.head('more');
    return next;
    perform ledger_rebuild('more');
    perform converge_ledger.refresh_digests();
end $$;
select c.change, f.* from unnest(array[
    $$rfc6962 = sha256('wrong')$$, $$size = 299, rfc6962 = sha256('wrong')$$, $$size = 301, rfc6962 = sha256('wrong')$$,
    $$size = 0, rfc6962 = sha256('wrong')$$, $$size = -1, rfc6962 = sha256('wrong')$$, $$size = 9223372036854775807, rfc6962 = sha256('wrong')$$,
    $$leaf_hash = sha256('other'), rfc6962 = sha256('wrong')$$, $$leaf_hash = '\x00'$$, $$rfc6962 = '\x00'$$, $$rfc6962 = ''$$]) as c (change),
    lateral pg_temp.cached(change) as f;
-- Rebuilding empties it: of one context, or of all.
select ledger_rebuild('more');
select count(*), count(*) filter (where context_id = 'more') as of_it from converge_ledger.digests;
select ledger_rebuild() > 0 as rebuilt;
select count(*) from converge_ledger.digests;

-- The same entries, in whatever order they came, have the same digests, whether the cache is filled or not.
create temp table entry as select * from converge_ledger.entries;
select pg_temp.all_digests() as before \gset
begin;
alter table converge_ledger.entries disable trigger all;
delete from converge_ledger.entries;
select pg_temp.past($past$delete from converge_ledger.contexts;
delete from converge_ledger.subtrees$past$) \g /dev/null
alter table converge_ledger.entries enable always trigger "~ledger_stamp";
alter table converge_ledger.entries enable always trigger ledger_append_only;
alter table converge_ledger.entries enable always trigger ledger_append_only_statement;
select * from converge_ledger.peer_digests_1(64);
commit;
insert into converge_ledger.entries select * from entry order by sequence, context_id desc;
select pg_temp.all_digests() = :'before' as same;
select converge_ledger.refresh_digests();
select pg_temp.all_digests() = :'before' as same;
select * from ledger_check();

-- Damage raises nothing: such a context has a root that no tree has, and no row is stored of it.
create function pg_temp.damage(change text) returns table (size bigint, root text, others_right bigint, refreshed bigint) language plpgsql as $$
begin
    begin
        alter table converge_ledger.entries disable trigger all;
        execute change;
        perform pg_temp.past('delete from converge_ledger.digests');
        select h.size, case h.rfc6962 when decode(repeat('00', 32), 'hex') then 'damaged' when ledger_root('a b', h.size, 'rfc6962') then 'right' end
          into size, root from converge_ledger.peer_heads_1(1, null) as h where h.context_id = 'a b';
        select count(*) into others_right from converge_ledger.peer_heads_1(1, null) as h
         where h.context_id <> 'a b' and h.rfc6962 = ledger_root(h.context_id, h.size, 'rfc6962');
        refreshed := converge_ledger.refresh_digests();
        raise exception using errcode = 'ZZ000';
    exception when sqlstate 'ZZ000' then return next;
    end;
end $$;
select c.change, d.* from unnest(array[
    $$delete from converge_ledger.entries where context_id = 'a b' and sequence = 3$$,
    $$delete from converge_ledger.entries where context_id = 'a b' and sequence = 1$$,
    $$update converge_ledger.entries set leaf_hash = '\x00' where context_id = 'a b' and sequence = 7$$,
    $$update converge_ledger.entries set leaf_hash = '\x00' where context_id = 'a b' and sequence = 2$$,
    $$delete from converge_ledger.entries where context_id = 'a b' and sequence = 7$$,
    $$delete from converge_ledger.entries where context_id = 'a b'$$]) as c (change),
    lateral pg_temp.damage(change) as d;

-- Only what is judged counts.
begin;
alter table converge_ledger.entries disable trigger all;
delete from converge_ledger.entries where (context_id, sequence) = ('a b', 5);
select pg_temp.guards(false) \g /dev/null
insert into converge_ledger.unsettled values (6, 'a b', '', now()), (5, 'a b', '', now()), (3, 'more', '', now()), (1, 'Zeta', '', now()), (9, 'none', '', now());
create temp view few as
select context_id, size, rfc6962 = ledger_root(context_id, size, 'rfc6962') as right
  from converge_ledger.peer_heads_1(1, null) where context_id in ('a b', 'more', 'Zeta', 'ä');
select * from few;
select sum(contexts) from converge_ledger.peer_digests_1(64);
select converge_ledger.refresh_digests();
select * from few;
delete from converge_ledger.unsettled where context_id = 'more';
select * from few;
rollback;
select pg_temp.all_digests() = :'before' as same;

-- Who may read may ask; only the owner fills the cache, which nobody else sees.
create role regress_digest;
set role regress_digest;
select * from converge_ledger.peer_digests_1(1);
reset role;
select ledger_grant('regress_digest', 'read');
set role regress_digest;
select bucket, contexts from converge_ledger.peer_digests_1(1);
select count(*) from converge_ledger.peer_heads_1(1, null);
select count(*) from converge_ledger.digests;
\echo :LAST_ERROR_SQLSTATE
select converge_ledger.refresh_digests();
\echo :LAST_ERROR_SQLSTATE
reset role;
grant execute on function converge_ledger.refresh_digests(bigint) to regress_digest;
set role regress_digest;
select converge_ledger.refresh_digests();
\echo :LAST_ERROR_SQLSTATE
reset role;
revoke select on converge_ledger.entries from regress_digest;
set role regress_digest;
select * from converge_ledger.peer_digests_1(1);
\echo :LAST_ERROR_SQLSTATE
select * from converge_ledger.peer_heads_1(1, null);
\echo :LAST_ERROR_SQLSTATE
reset role;

-- Asking writes nothing and takes no transaction id.
begin;
select sum(contexts) from converge_ledger.peer_digests_1(64);
select count(*) from converge_ledger.peer_heads_1(1, null);
select pg_current_xact_id_if_assigned();
rollback;
begin read only;
select sum(contexts) from converge_ledger.peer_digests_1(64);
select converge_ledger.refresh_digests();
\echo :LAST_ERROR_SQLSTATE
rollback;

-- Arguments.
\set VERBOSITY default
select * from converge_ledger.peer_digests_1(null);
\echo :LAST_ERROR_SQLSTATE
select * from converge_ledger.peer_digests_1(0);
\echo :LAST_ERROR_SQLSTATE
select * from converge_ledger.peer_digests_1(3);
select * from converge_ledger.peer_digests_1(-2147483648);
select * from converge_ledger.peer_digests_1(16384);
select * from converge_ledger.peer_heads_1(12, '{1}');
\echo :LAST_ERROR_SQLSTATE
select * from converge_ledger.peer_heads_1(8, '{7,8}');
\echo :LAST_ERROR_SQLSTATE
select * from converge_ledger.peer_heads_1(8, '{-1}');
select * from converge_ledger.peer_heads_1(8, '{1,null}');
\echo :LAST_ERROR_SQLSTATE
select * from converge_ledger.peer_heads_1(8, '{{1,2},{3,4}}');
\echo :LAST_ERROR_SQLSTATE
select converge_ledger.refresh_digests(-1);
\echo :LAST_ERROR_SQLSTATE

\c :home
drop database regress_digest;
drop role regress_digest;
