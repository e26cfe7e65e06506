-- COPY stamps and inserts chunks of rows where nothing but the ledger's own trigger would see the single row; all else is
-- PostgreSQL's own COPY. Both ways give the same entries.
--
-- Which way was taken shows in how often the trigger was called.

-- The changes would be refused otherwise.
set converge_ledger.allow_drop = on;
\getenv source PG_ABS_SRCDIR
\set oracle :source '/oracle/format_1.sql'
\set ECHO none
\i :oracle
\set ECHO all
load 'converge_ledger';
set track_functions = 'all';
create function pg_temp.calls() returns bigint language sql volatile as $$
    select coalesce(sum(calls), 0) from pg_stat_xact_user_functions where funcname = 'entries_before_insert'
$$;
select current_setting('data_directory') || '/append_copy' as file \gset

-- The same rows both ways: contexts of many blocks, interleaved; some metadata long enough to be compressed, some payloads
-- stored out of line, contexts that have entries already.
copy (select 'CONTEXT ' || i % 5, 'key ' || i % 3, convert_to(repeat('payload ', case when i % 100 = 0 then 2000 else i % 40 end) || i, 'UTF8'),
             jsonb_build_object('i', i, 'text', repeat('ä', (i % 7) * 500))
        from generate_series(1, 4000) as i
      union all
      select 'CONTEXT alone', 'k', int4send(i), '{}' from generate_series(1, 1500) as i) to :'file';
begin;
insert into converge_ledger.entries (context_id, key, payload)
select format('CONTEXT %s', i % 2), 'first', int4send(i) from generate_series(1, 400) as i;
savepoint filled;
select pg_temp.calls() as before \gset
copy converge_ledger.entries (context_id, key, payload, metadata) from :'file';
select pg_temp.calls() - :before as calls_of_the_trigger;
select count(*), count(*) filter (where leaf_hash = pg_temp.leaf(e)) as right_leaves,
       count(distinct salt) as different_salts, count(distinct origin) as origins from converge_ledger.entries as e;
select count(*) as blocks, count(*) filter (where bitcoin = pg_temp.root('bitcoin', leaves) and rfc6962 = pg_temp.root('rfc6962', leaves)) as right_blocks
  from converge_ledger.subtrees as s,
       lateral (select array_agg(leaf_hash order by sequence) as leaves from converge_ledger.entries as e
                 where e.context_id = s.context_id and (e.sequence - 1) / 256 = s.index) as block
 where level = 8;
select * from ledger_check();
rollback to filled;
create function pg_temp.nothing() returns trigger language plpgsql as $$ begin return null; end $$;
create trigger nothing after insert on converge_ledger.entries for each row execute function pg_temp.nothing();
copy converge_ledger.entries (context_id, key, payload, metadata) from :'file';
create temp table rows_way as select context_id, sequence, lamport, format, origin, key, id, payload, metadata::text, content_digest from converge_ledger.entries;
drop trigger nothing on converge_ledger.entries;
select count(*), md5(string_agg(r::text, '' order by context_id, sequence)) as digest_rows from rows_way as r \gset
rollback to filled;
copy converge_ledger.entries (context_id, key, payload, metadata) from :'file';
select count(*) = :count and md5(string_agg(r::text, '' order by context_id, sequence)) = :'digest_rows' as the_same
  from (select context_id, sequence, lamport, format, origin, key, id, payload, metadata::text, content_digest from converge_ledger.entries) as r;
rollback;

-- Ids: a retry adds nothing, also within one COPY; another content is refused, on its line.
begin;
copy converge_ledger.entries (context_id, id, key, payload) from stdin;
ids	one	k	x
ids		k	x
ids	two	k	y
ids	one	k	x
other	one	k	x
ids	one	k	x
\.
select context_id, sequence, id, ledger_text(payload) from converge_ledger.entries;
savepoint s;
copy converge_ledger.entries (context_id, id, key, payload) from stdin;
ids	three	k	x
ids	two	k	other
ids	four	k	x
\.
rollback to s;
select * from ledger_check();
rollback;

-- Errors say what PostgreSQL's COPY says, with the line, and leave nothing.
\set VERBOSITY default
copy converge_ledger.entries (context_id, key, payload) from stdin;
bad	k	x
bad	$k	y
\.
copy converge_ledger.entries (context_id, key, payload, metadata) from stdin;
bad	k	x	{}
bad	k	x	{"a":
\.
copy converge_ledger.entries (context_id, key, payload, metadata) from stdin;
bad	k	x	[]
\.
copy converge_ledger.entries (context_id, key, payload) from stdin;
bad	k
\.
copy converge_ledger.entries (context_id, key, payload) from stdin;
bad	k	\N
\.
copy converge_ledger.entries (context_id, key, key) from stdin;
\.
copy converge_ledger.entries (context_id, nothing) from stdin;
\.
copy converge_ledger.entries (context_id, payload) from '/nonexistent';
copy converge_ledger.entries (context_id, payload) from stdin (format nonsense);
\.
begin read only;
copy converge_ledger.entries (context_id, payload) from stdin;
\.
rollback;
select count(*) from converge_ledger.entries;

-- Formats; progress and statistics are those of a COPY; defaults.
begin;
copy converge_ledger.entries (payload, context_id) from stdin (format csv, header, delimiter ';');
payload;context
\x00ff;csv
"a;b";csv
\.
select sequence, key, id, payload, metadata from ledger_get('csv');
alter table converge_ledger.entries alter key set default 'of a user', alter metadata set default '{"a": 1}';
copy converge_ledger.entries (payload, context_id) from stdin;
z	csv
\.
select sequence, key, id, payload, metadata from ledger_get('csv', 2);
rollback;

-- What decides the way. Only the plain case goes in chunks.
create function pg_temp.calls_with(change text, copy text) returns text language plpgsql as $$
declare
    before bigint;
    taken text;
begin
    execute change;
    before := pg_temp.calls();
    execute copy;
    taken := pg_temp.calls() - before;
    raise exception using errcode = 'ZZ000';
exception
    when sqlstate 'ZZ000' then return taken;
    when others then return sqlstate || ' ' || sqlerrm;
end $$;
create function pg_temp.pass() returns trigger language plpgsql as $$ begin return new; end $$;
create function pg_temp.is_id(id text) returns boolean language plpgsql immutable as $$ begin return id <> ''; end $$;
create function pg_temp.appends_quietly() returns text language plpgsql stable as $$ begin return pg_temp.appends(); end $$;
create function pg_temp.appends() returns text language plpgsql as $$ begin return ledger_append('way', 'nested', 'x')::text; end $$;
copy (select 'way', 'x', int4send(i) from generate_series(1, 300) as i) to :'file';
select format('copy converge_ledger.entries (context_id, key, payload) from %L', :'file') as plain,
       format('copy converge_ledger.entries (context_id, key, payload) from %L where context_id <> ''''', :'file') as conditional,
       format('copy converge_ledger.entries (context_id, key, payload) from program ''cat %s''', :'file') as program \gset
select change, pg_temp.calls_with(change, :'plain') as calls from unnest(array[
    'select 1',
    'set local search_path = converge_ledger, public',
    'create index on converge_ledger.entries (lamport)',
    'create index on converge_ledger.entries (lower(key))',
    'drop index converge_ledger.entries_id_key; create unique index entries_id_key on converge_ledger.entries (context_id, id, sequence)',
    'drop index converge_ledger.entries_id_key; create unique index entries_id_key on converge_ledger.entries (context_id, id) where pg_temp.is_id(id)',
    'create unique index on converge_ledger.entries (payload)',
    'alter table converge_ledger.entries add check (key <> ''y'')',
    'create trigger a before insert on converge_ledger.entries for each row execute function pg_temp.pass()',
    'create trigger a before insert on converge_ledger.entries execute function pg_temp.pass()',
    'alter table converge_ledger.entries alter id set default pg_temp.appends()',
    'alter table converge_ledger.entries alter id set default pg_temp.appends_quietly()',
    'alter table converge_ledger.entries alter lamport set default 7',
    'alter table converge_ledger.entries enable row level security',
    'alter table converge_ledger.entries add column more int',
    'alter table converge_ledger.entries disable trigger "~ledger_stamp"'
  ]) with ordinality as c (change, n) order by n;
select pg_temp.calls_with('select 1', :'conditional') as condition, pg_temp.calls_with('select 1', :'program') as program;
-- A table of the same name is none of the ledger's.
begin;
create temp table entries (context_id text, payload text);
copy entries (context_id, payload) from stdin;
a	b
\.
select * from entries;
rollback;

-- Rights are PostgreSQL's to judge.
create role copier;
select ledger_grant('copier', 'append');
grant usage on schema converge_ledger to copier;
set role copier;
copy converge_ledger.entries (context_id, payload) from :'file';
copy converge_ledger.entries (context_id, sequence) from stdin;
\.
begin;
copy converge_ledger.entries (context_id, key, payload) from stdin;
mine	k	x
\.
select sequence, ledger_text(payload) from ledger_get('mine');
rollback;
reset role;
revoke insert (payload) on converge_ledger.entries from copier;
set role copier;
copy converge_ledger.entries (context_id, payload) from stdin;
\.
reset role;
drop owned by copier;
drop role copier;

-- COPY into a table of the same name in another schema does not wait for whoever works on the ledger.
create schema other;
create table other.entries (context_id text);
\c
load 'converge_ledger';
begin;
copy other.entries (context_id) from stdin;
a
\.
select count(*) as locks_on_the_ledger from pg_locks join pg_class as c on c.oid = relation
 where pid = pg_backend_pid() and relnamespace = 'converge_ledger'::regnamespace;
rollback;
drop schema other cascade;
\! rm "$PGDATA/append_copy"
