-- The batch functions insert chunks of rows at once where nothing but the ledger's own trigger would see the single row,
-- and else row by row. Both ways give the same entries, and neither skips what a user put on the table.
--
-- Which way was taken shows in the times: a chunk has one, rows that pass the trigger have their own.

-- The changes would be refused otherwise.
set converge_ledger.allow_drop = on;
\getenv source PG_ABS_SRCDIR
\set oracle :source '/oracle/format_1.sql'
\set ECHO none
\i :oracle
\set ECHO all
create function pg_temp.way(context text) returns text language sql volatile as $$
    select case when count(distinct appended_at) <= 8 then 'chunks' else 'rows' end
      from ledger_get(context) where key <> 'first'
$$;
create function pg_temp.payloads(n int) returns bytea[] language sql as $$
    select array_agg(convert_to(repeat('payload ', i % 40) || i, 'UTF8') order by i) from generate_series(1, n) as i
$$;
-- Some of the metadata is long enough to be compressed, some of the payloads are stored out of line.
create function pg_temp.metadata(n int) returns jsonb[] language sql as $$
    select array_agg(jsonb_build_object('i', i, 'text', repeat('ä', (i % 7) * 500)) order by i) from generate_series(1, n) as i
$$;
create function pg_temp.keys(n int) returns text[] language sql as $$
    select array_agg('key ' || i % 3 order by i) from generate_series(1, n) as i
$$;

-- Both ways with the same content, around the sizes of blocks, into new contexts and such that have entries.
begin;
create table sizes as select before, n from unnest(array[0, 1, 200, 255, 256]) as before, unnest(array[1, 55, 56, 57, 256, 300, 600]) as n;
create function pg_temp.fill(way text) returns void language plpgsql as $$
declare
    size record;
begin
    for size in select * from sizes loop
        insert into converge_ledger.entries (context_id, key, payload)
        select format('%s %s+%s', way, size.before, size.n), 'first', int4send(i) from generate_series(1, size.before) as i;
        perform ledger_append_rows(format('%s %s+%s', way, size.before, size.n), pg_temp.keys(size.n), pg_temp.payloads(size.n), pg_temp.metadata(size.n));
        perform ledger_append_batch(format('%s %s+%s', way, size.before, size.n), 'batch', pg_temp.payloads(size.n), '{"a": "b"}');
        perform ledger_append(format('%s %s+%s', way, size.before, size.n), 'last', 'x');
    end loop;
end $$;
select pg_temp.fill('chunks');
create function pg_temp.nothing() returns trigger language plpgsql as $$ begin return null; end $$;
create trigger nothing after insert on converge_ledger.entries for each row execute function pg_temp.nothing();
select pg_temp.fill('rows');
select pg_temp.way('chunks 0+600'), pg_temp.way('rows 0+600');

select count(*), count(*) filter (where leaf_hash = pg_temp.leaf(e)) as right_leaves,
       count(*) filter (where octet_length(salt) = 16) as salts, count(distinct salt) as different_salts,
       count(distinct origin) as origins
  from converge_ledger.entries as e where context_id ~ '^(chunks|rows) ';
select count(*) as differences from (
    select substr(context_id, strpos(context_id, ' ')) as context, sequence, lamport, format, origin, key, id, payload, metadata::text, content_digest
      from converge_ledger.entries where context_id like 'chunks %'
    except all
    select substr(context_id, strpos(context_id, ' ')), sequence, lamport, format, origin, key, id, payload, metadata::text, content_digest
      from converge_ledger.entries where context_id like 'rows %') as difference;
select way, count(*) as blocks, count(*) filter (where bitcoin = pg_temp.root('bitcoin', leaves) and rfc6962 = pg_temp.root('rfc6962', leaves)) as right_blocks
  from unnest(array['chunks', 'rows']) as way, converge_ledger.subtrees as s,
       lateral (select array_agg(leaf_hash order by sequence) as leaves from converge_ledger.entries as e
                 where e.context_id = s.context_id and (e.sequence - 1) / 256 = s.index) as block
 where s.context_id like way || ' %' and level = 8 group by way order by way;
select bool_and(ledger_root(context_id, null, tree) = pg_temp.root(tree, pg_temp.leaves(context_id))) as right_roots
  from converge_ledger.contexts, unnest(array['bitcoin', 'rfc6962']) as tree where context_id ~ '^(chunks|rows) (0|255)';
select * from ledger_check();
rollback;

-- Large batches are hashed on another core; max_parallel_workers_per_gather = 0 keeps them to one. They start within a block,
-- which the next batch fills.
begin;
create function pg_temp.both_sizes(context text) returns void language sql as $$
    select ledger_append_batch(context, 'few', pg_temp.payloads(100));
    select ledger_append_rows(context, pg_temp.keys(5000), pg_temp.payloads(5000), pg_temp.metadata(5000));
    select ledger_append_batch(context, 'many', pg_temp.payloads(3000), '{"a": "b"}', 1000000);
    select ledger_append_batch(context, 'large', array(select convert_to(repeat(md5(i::text), 20000), 'UTF8') from generate_series(1, 5) as i));
$$;
select pg_temp.both_sizes('two cores');
set local max_parallel_workers_per_gather = 0;
select pg_temp.both_sizes('one core');
select count(*), count(*) filter (where leaf_hash = pg_temp.leaf(e)) as right_leaves, count(distinct salt) as different_salts from converge_ledger.entries as e;
select count(*) as differences from (
    select sequence, lamport, key, payload, metadata::text from ledger_get('one core', max_entries => 10000)
    except all
    select sequence, lamport, key, payload, metadata::text from ledger_get('two cores', max_entries => 10000)) as difference;
select * from ledger_check();
rollback;
-- Ended while it is at it, it leaves nothing and hinders nothing.
begin;
create temp table large as select array_agg(convert_to(md5(i::text), 'UTF8')) as payloads from generate_series(1, 1000000) as i;
set local statement_timeout = '300ms';
savepoint s;
\set VERBOSITY sqlstate
select ledger_append_batch('ended', 'x', payloads) from large;
rollback to s;
\set VERBOSITY default
reset statement_timeout;
select * from ledger_append_batch('ended', 'x', pg_temp.payloads(3000));
select * from ledger_check('ended');
rollback;

-- A chunk ends at the bytes it may hold, too; entries that are larger than a page.
begin;
select * from ledger_append_batch('large entries', 'large',
    (select array_agg(convert_to(repeat(md5(i::text), 3000), 'UTF8') order by i) from generate_series(1, 20) as i));
select count(*), bool_and(payload = convert_to(repeat(md5(sequence::text), 3000), 'UTF8')) as in_order,
       bool_and(leaf_hash = pg_temp.leaf(e)) as right_leaves from ledger_get('large entries') as e;
rollback;

-- Whatever a user may have put on the table decides the way.
create function pg_temp.way_with(change text) returns text language plpgsql as $$
declare
    taken text;
begin
    execute change;
    perform ledger_append_batch('way', 'x', pg_temp.payloads(300));
    taken := pg_temp.way('way');
    raise exception using errcode = 'ZZ000';
exception
    when sqlstate 'ZZ000' then return taken;
    when others then return sqlstate || ' ' || sqlerrm;
end $$;
create function pg_temp.pass() returns trigger language plpgsql as $$ begin return new; end $$;
create table keys (key text collate "C" primary key);
insert into keys values ('x');
select change, pg_temp.way_with(change) as way from unnest(array[
    'select 1',
    'create index on converge_ledger.entries (lamport)',
    'create index on converge_ledger.entries (lower(key))',
    'create index on converge_ledger.entries (lamport) where key <> ''''',
    'create unique index on converge_ledger.entries (payload)',
    'alter table converge_ledger.entries add unique (context_id, lamport) deferrable initially deferred',
    'alter table converge_ledger.entries add exclude using btree (leaf_hash with =)',
    'alter table converge_ledger.entries add check (key <> ''y'')',
    'alter table converge_ledger.entries add foreign key (key) references keys not valid',
    'alter table converge_ledger.entries alter content_digest set not null',
    'alter table converge_ledger.entries alter payload set not null',
    'create table child () inherits (converge_ledger.entries)',
    'create trigger a before insert on converge_ledger.entries for each row execute function pg_temp.pass()',
    'create trigger a after insert on converge_ledger.entries for each row execute function pg_temp.pass()',
    'create trigger a before insert on converge_ledger.entries execute function pg_temp.pass()',
    'create trigger a after insert on converge_ledger.entries referencing new table as added execute function pg_temp.pass()',
    'create trigger a before insert or update on converge_ledger.entries for each row when (false) execute function pg_temp.pass()',
    'create trigger "~z" before insert on converge_ledger.entries for each row execute function pg_temp.pass()',
    'create trigger a before insert on converge_ledger.entries for each row execute function pg_temp.pass();
     alter table converge_ledger.entries disable trigger a',
    'create trigger a before update on converge_ledger.entries for each row execute function pg_temp.pass()',
    'alter table converge_ledger.entries enable trigger "~ledger_stamp"',
    'alter table converge_ledger.entries enable replica trigger "~ledger_stamp"',
    'alter table converge_ledger.entries disable trigger "~ledger_stamp"',
    'alter trigger "~ledger_stamp" on converge_ledger.entries rename to a',
    'create or replace function converge_ledger.entries_before_insert() returns trigger language plpgsql as ''begin return new; end''',
    'alter table converge_ledger.entries enable row level security',
    'create rule r as on insert to converge_ledger.entries do also select 1',
    'alter table converge_ledger.entries add column more int',
    'set local session_replication_role = replica'
  ]) with ordinality as c (change, n) order by n;

-- What the row-by-row way honours: a trigger that changes or swallows, a constraint, a key.
begin;
create function pg_temp.change() returns trigger language plpgsql as $$
begin
    new.key := upper(new.key);
    return case when new.payload = '2' then null else new end;
end $$;
create trigger change before insert on converge_ledger.entries for each row execute function pg_temp.change();
savepoint s;
\set VERBOSITY sqlstate
select * from ledger_append_rows('changed', '{a,b,c}', '{1,2,3}');
rollback to s;
select * from ledger_append_rows('changed', '{a,b,c}', '{1,4,3}');
select sequence, key, ledger_text(payload) from ledger_get('changed');
rollback;
begin;
alter table converge_ledger.entries add foreign key (key) references keys not valid;
savepoint s;
select * from ledger_append_rows('referring', '{x,z}', '{1,2}');
rollback to s;
alter table converge_ledger.entries add check (octet_length(payload) < 2);
select * from ledger_append_rows('checked', '{x,x}', '{1,22}');
rollback to s;
create unique index on converge_ledger.entries (payload) where context_id = 'unique';
select * from ledger_append_batch('unique', 'x', '{1,2,1}');
rollback to s;
select ledger_append('unique', 'x', '1');
rollback;
drop table keys;
