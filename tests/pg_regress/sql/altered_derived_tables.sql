-- The derived tables are read and written directly. Where one of them was altered so that this could not go well, appending and
-- reading end with 55000 and ledger_check says why; when the change is undone, all goes on.

-- The changes would be refused otherwise.
set converge_ledger.allow_drop = on;
begin;
insert into converge_ledger.entries (context_id, payload) select 'derived', int4send(i) from generate_series(1, 300) as i;
create function pg_temp.answer(statement text) returns text language plpgsql as $$
begin
    execute statement;
    return 'accepted';
exception when others then
    return sqlstate || ' ' || sqlerrm;
end $$;
-- What each statement says while a table is altered, what ledger_check says, and what they say when that is undone.
create function pg_temp.alter(change text, undo text)
returns table (append text, new_context text, root text, rebuild text, faults text, append_again text, faults_left text)
language plpgsql as $$
begin
    set local client_min_messages = error;
    execute change;
    append := pg_temp.answer($q$select ledger_append('derived', 'facts', 'x')$q$);
    new_context := pg_temp.answer(format($q$select ledger_append('derived, %s', 'facts', 'x')$q$, md5(change)));
    root := pg_temp.answer($q$select ledger_root('derived')$q$);
    rebuild := pg_temp.answer($q$select ledger_rebuild('derived')$q$);
    select string_agg(f.detail, '; ' order by f.detail collate "C") into faults from ledger_check() as f where f.kind = 'schema';
    execute undo;
    append_again := pg_temp.answer($q$select ledger_append('derived', 'facts', 'x')$q$);
    select string_agg(f.detail, '; ' order by f.detail collate "C") into faults_left from ledger_check() as f where f.kind = 'schema';
    return next;
end $$;

\x on
select c.change, a.* from (values
    (1, 'create index more on converge_ledger.contexts (lower(context_id))', 'drop index converge_ledger.more'),
    (2, 'create index more on converge_ledger.subtrees ((level + 1))', 'drop index converge_ledger.more'),
    (3, 'create index more on converge_ledger.node (name)', 'drop index converge_ledger.more'),
    (4, 'create index more on converge_ledger.subtrees (index) where index > 0', 'drop index converge_ledger.more'),
    (5, 'alter table converge_ledger.contexts add constraint more exclude using btree (context_id with =)',
        'alter table converge_ledger.contexts drop constraint more'),
    (6, 'alter table converge_ledger.contexts alter column context_id type varchar',
        'alter table converge_ledger.contexts alter column context_id type text collate "C"'),
    (7, 'alter table converge_ledger.subtrees alter column index type int', 'alter table converge_ledger.subtrees alter column index type bigint'),
    (8, 'alter table converge_ledger.subtrees alter column bitcoin type text using encode(bitcoin, ''hex'')',
        'alter table converge_ledger.subtrees alter column bitcoin type bytea using decode(bitcoin, ''hex'')'),
    (9, 'alter table converge_ledger.node alter column database_oid type bigint',
        'alter table converge_ledger.node alter column database_oid type oid'),
    (10, 'alter table converge_ledger.node alter column name type name', 'alter table converge_ledger.node alter column name type text collate "C"'),
    (11, 'alter table converge_ledger.contexts add column more int', 'alter table converge_ledger.contexts drop column more'),
    (12, 'alter table converge_ledger.subtrees add column more int not null default 1', 'alter table converge_ledger.subtrees drop column more'),
    (13, 'alter table converge_ledger.node add column more text', 'alter table converge_ledger.node drop column more'),
    (14, 'alter table converge_ledger.digests alter column size type int', 'alter table converge_ledger.digests alter column size type bigint')
  ) as c (n, change, undo), lateral pg_temp.alter(change, undo) as a order by n;
\x off

-- What was written since is right.
insert into converge_ledger.entries (context_id, payload) select 'derived', int4send(i) from generate_series(1, 300) as i;
select ledger_rebuild('derived') = size as rebuilt from ledger_head('derived');
select * from ledger_check('derived');

-- A column that is gone cannot be brought back to its place.
create function pg_temp.try(change text, statement text) returns text language plpgsql as $$
begin
    execute change;
    execute statement;
    raise exception using errcode = 'ZZ000';
exception
    when sqlstate 'ZZ000' then return 'accepted';
    when others then return sqlstate || ' ' || sqlerrm;
end $$;
select change, s.way, pg_temp.try(change, s.statement) as answer from unnest(array[
    'alter table converge_ledger.subtrees drop column rfc6962',
    'alter table converge_ledger.subtrees drop column rfc6962, add column rfc6962 bytea',
    'alter table converge_ledger.node drop column named_at'
  ]) with ordinality as c (change, n), (values
    (1, 'append', $q$select ledger_append('derived', 'facts', 'x')$q$),
    (2, 'root', $q$select ledger_root('derived')$q$),
    (3, 'rebuild', $q$select ledger_rebuild()$q$),
    (4, 'check', $q$do $d$ begin
        if (select count(*) from ledger_check() as f where f.kind = 'schema' and f.detail like 'column %') = 1 then
            raise exception 'one fault';
        end if;
    end $d$$q$)) as s (m, way, statement)
 order by n, m;
select * from ledger_check('derived');
rollback;
