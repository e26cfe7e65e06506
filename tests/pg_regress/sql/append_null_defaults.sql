-- Null stands for the default of metadata and id, as drivers and object mappers send it, wherever a row is sequenced here.

begin;
select ledger_append('null', 'function', 'x', null, null, null);
select ledger_append('null', 'function', 'x', metadata => null, id => null);
select ledger_append('null', 'function', '\x01'::bytea, null, null, null);
select ledger_append('null', 'function', '1'::jsonb, null, null, null);
select ledger_append('null', 'function', '1'::json, null, null, null);
select ledger_append_text('null', 'function', 'x', null, null, null);
select ledger_append_bytes('null', 'function', 'x', null, null, null);
select ledger_append_json('null', 'function', '1', null, null, null);
select * from ledger_append_batch('null', 'batch', '{x,y}', null, null);
select * from ledger_append_rows('null', '{a,b,c}', '{x,y,z}', array[null, '{"n": 1}', null]::jsonb[]);
select * from ledger_append_rows('null', '{a}', '{x}', array[null]::jsonb[]);
-- An object mapper that sends all columns.
insert into converge_ledger.entries (sequence, lamport, appended_at, format, context_id, origin, key, id, payload, metadata, salt, leaf_hash, content_digest)
values (null, null, null, null, 'null', null, 'all', null, 'x', null, null, null, null)
returning sequence, format, key, id, metadata;
insert into converge_ledger.entries (context_id, key, id, payload, metadata) values ('null', 'insert', null, 'x', null), ('null', 'insert', 'i1', 'x', null), ('null', 'insert', null, 'x', '{"n": 1}');
insert into converge_ledger.entries (context_id, key, id, payload, metadata) values ('null', 'insert', 'i1', 'x', null) on conflict do nothing;
-- COPY in its fast form.
copy converge_ledger.entries (context_id, key, id, payload, metadata) from stdin;
null	copy	\N	x	\N
null	copy	c1	x	\N
null	copy	\N	x	{"n": 1}
\.
merge into converge_ledger.entries using (values ('m')) as v (p) on false
when not matched then insert (context_id, key, id, payload, metadata) values ('null', 'merge', null, v.p::bytea, null);
select key, id, metadata, count(*) from ledger_get('null') group by 1, 2, 3 order by key collate "C", id, metadata;
select * from ledger_check('null');

-- With a trigger of the user beside ours, every row takes the executor's way. A trigger may also make the null.
create function pg_temp.nulls() returns trigger language plpgsql as $$
begin
    new.metadata := nullif(new.metadata, '{"n": 2}');
    new.id := nullif(new.id, 'none');
    return new;
end $$;
create trigger nulls before insert on converge_ledger.entries for each row execute function pg_temp.nulls();
select ledger_append('slow', 'function', 'x', null, null, null);
select ledger_append('slow', 'made', 'x', '{"n": 2}', null, 'none');
select * from ledger_append_batch('slow', 'batch', '{x,y}', null);
select * from ledger_append_rows('slow', '{a,b}', '{x,y}', array[null, '{"n": 1}']::jsonb[]);
insert into converge_ledger.entries (context_id, key, id, payload, metadata) values ('slow', 'insert', null, 'x', null);
copy converge_ledger.entries (context_id, key, id, payload, metadata) from stdin;
slow	copy	\N	x	\N
\.
select key, id, metadata, count(*) from ledger_get('slow') group by 1, 2, 3 order by key collate "C", id, metadata;
select * from ledger_check('slow');
rollback;

-- What has no default. (A row that brings its leaf hash is taken as it is: placement_refused.)
begin;
\set VERBOSITY default
savepoint s;
insert into converge_ledger.entries (context_id, key, payload) values ('null', null, 'x');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
insert into converge_ledger.entries (context_id, key, payload) values ('null', 'k', null);
\echo :LAST_ERROR_SQLSTATE
rollback to s;
insert into converge_ledger.entries (context_id, key, payload) values (null, 'k', 'x');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
rollback;
