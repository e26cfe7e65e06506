-- INSERT in all its forms, COPY and MERGE append like ledger_append: in the order of their rows, without
-- a gap, whichever contexts they mix.

begin;
insert into converge_ledger.entries (context_id, key, payload) values ('insert', 'facts', '\x01');
insert into converge_ledger.entries (context_id, key, payload, metadata, id)
values ('insert', 'facts', '\x02', '{"a": 1}', 'two'),
       ('insert, another', 'facts', '\x03', '{}', ''),
       ('insert', '', '\x04', default, default);

-- The whole entry comes back at once.
insert into converge_ledger.entries (context_id, payload) values ('insert', '\x05')
returning sequence, lamport, format, context_id, key, id, payload, metadata,
          length(salt) as salt, length(leaf_hash) as leaf_hash, content_digest;

insert into converge_ledger.entries (context_id, key, payload)
select 'insert', 'selected', int4send(i) from generate_series(1, 3) as i order by i desc
returning sequence, payload;

-- A statement may read what it appends to.
insert into converge_ledger.entries (context_id, key, payload)
select context_id, 'copied', payload from converge_ledger.entries
 where context_id = 'insert' and key = 'facts' order by sequence
returning sequence, payload;

with written as (
    insert into converge_ledger.entries (context_id, key, payload) values ('insert', 'with', '\x06')
    returning sequence
)
select * from written;

copy converge_ledger.entries (context_id, key, payload) from stdin;
insert	copied in	\\x07
insert, another	copied in	\\x08
insert	copied in	\\x09
\.
copy converge_ledger.entries (context_id, id, payload, metadata) from stdin (format csv);
insert,three,\x0a,"{""b"": [1, 2]}"
\.

create temp table source (context text, payload bytea);
insert into source values ('insert', '\x0b'), ('insert', '\x0c');
merge into converge_ledger.entries as e
using source on false
when not matched then insert (context_id, key, payload) values (source.context, 'merged', source.payload);

select context_id, sequence, lamport, key, id, payload, metadata
  from converge_ledger.entries where context_id like 'insert%' order by context_id, sequence;

-- Values that are stored out of line or compressed elsewhere arrive as what they mean.
create temp table large (n int, context text, key text, payload bytea, metadata jsonb);
alter table large alter context set storage external, alter key set storage external, alter payload set storage external;
insert into large
select n, repeat('c', 500), repeat('k', 500), convert_to(string_agg(md5(i::text || n), ''), 'UTF8'), jsonb_build_object('a', repeat('xyz', 20000))
  from generate_series(1, 5000) as i, generate_series(1, 2) as n group by n;
insert into converge_ledger.entries (context_id, key, payload, metadata) select context, key, payload, metadata from large order by n;
select ledger_append(context, key, payload, metadata) from large order by n;
select sequence, e.payload = l.payload and e.metadata = l.metadata and e.key = l.key as same
  from large as l, lateral ledger_get(context) as e where n = 2 - sequence % 2 order by sequence;

-- Through a view, with its check option.
create view viewed as select context_id, key, payload from converge_ledger.entries where context_id = 'insert, viewed' with check option;
insert into viewed values ('insert, viewed', 'view', '\x01');
savepoint s;
\set VERBOSITY sqlstate
insert into viewed values ('insert, not viewed', 'view', '\x01');
\set VERBOSITY default
rollback to s;
insert into viewed values ('insert, viewed', 'view', '\x02');
select sequence, payload from ledger_get('insert, viewed');

-- A trigger that runs with the replication role of a subscription stamps as well: ENABLE ALWAYS.
set local session_replication_role = replica;
insert into converge_ledger.entries (context_id, payload) values ('insert, another', '\x0d')
returning sequence, length(leaf_hash) as leaf_hash;
set local session_replication_role = local;
insert into converge_ledger.entries (context_id, payload) values ('insert, another', '\x0e')
returning sequence, length(leaf_hash) as leaf_hash;
reset session_replication_role;

select * from ledger_check();
rollback;

-- COPY FREEZE is nothing for a table that others may see.
\set VERBOSITY sqlstate
copy converge_ledger.entries (context_id, payload) from stdin (freeze);
frozen	\\x01
\.
