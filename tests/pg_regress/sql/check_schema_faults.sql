-- What an administrator does to the definition of the ledger, ledger_check tells, each with what it is.

-- The changes would be refused otherwise.
set converge_ledger.allow_drop = on;
select ledger_append('schema', 'facts', 'x');
select * from ledger_check();
create function pg_temp.alter(change text) returns table (kind text, detail text) language plpgsql as $$
begin
    begin
        set local client_min_messages = error;
        execute change;
        return query select f.kind, f.detail from ledger_check() as f where f.context_id is null and f.sequence is null;
        raise exception using errcode = 'ZZ000';
    exception
        when sqlstate 'ZZ000' then null;
        when others then return query select sqlstate::text, sqlerrm::text;
    end;
end $$;
create role regress_anybody;

select change, f.kind, f.detail from unnest(array[
    -- Triggers.
    'alter table converge_ledger.entries disable trigger "~ledger_stamp"',
    'alter table converge_ledger.entries enable trigger "~ledger_stamp"',
    'alter table converge_ledger.entries enable replica trigger "~ledger_stamp"',
    'alter table converge_ledger.entries disable trigger ledger_append_only',
    'alter table converge_ledger.entries disable trigger ledger_append_only_statement',
    'drop trigger "~ledger_stamp" on converge_ledger.entries',
    'drop trigger ledger_append_only on converge_ledger.entries',
    'drop trigger ledger_append_only_statement on converge_ledger.entries',
    'alter trigger "~ledger_stamp" on converge_ledger.entries rename to a_stamp',
    'create or replace trigger "~ledger_stamp" before insert on converge_ledger.entries for each row
         when (new.key <> ''x'') execute function converge_ledger.entries_before_insert()',
    'create or replace trigger "~ledger_stamp" before insert on converge_ledger.entries for each row
         execute function suppress_redundant_updates_trigger()',
    'create or replace trigger ledger_append_only before update of key on converge_ledger.entries for each row
         execute function converge_ledger.entries_append_only()',
    'create trigger "~~later" before insert on converge_ledger.entries for each row
         execute function suppress_redundant_updates_trigger()',
    -- Functions.
    'create or replace function converge_ledger.entries_append_only() returns trigger language plpgsql as ''begin return null; end''',
    'alter function converge_ledger.entries_before_insert() set search_path = pg_catalog',
    'alter function converge_ledger.entries_before_insert() security definer',
    'alter function converge_ledger.entries_append_only() rename to another_name',
    'alter event trigger converge_ledger_drop_guard disable',
    'alter event trigger converge_ledger_drop_guard enable',
    'alter extension converge_ledger drop event trigger converge_ledger_drop_guard; drop event trigger converge_ledger_drop_guard',
    -- The table.
    'create rule r as on insert to converge_ledger.entries do instead nothing',
    'create rule r as on delete to converge_ledger.entries do also nothing',
    'alter table converge_ledger.entries enable row level security',
    'alter table converge_ledger.entries force row level security',
    'create table inheriting () inherits (converge_ledger.entries)',
    'create table parent (); alter table converge_ledger.entries inherit parent',
    'alter table converge_ledger.entries set unlogged',
    'alter extension converge_ledger drop table converge_ledger.entries',
    -- Columns.
    'alter table converge_ledger.entries add column more int',
    'alter table converge_ledger.entries alter column key drop not null',
    'alter table converge_ledger.entries alter column payload set not null',
    'alter table converge_ledger.entries rename column origin to node',
    'alter table converge_ledger.entries alter column leaf_hash drop not null',
    -- Keys.
    'alter table converge_ledger.entries drop constraint entries_pkey',
    'drop index converge_ledger.entries_id_key',
    'drop index converge_ledger.entries_id_key; create unique index entries_id_key on converge_ledger.entries (context_id, id)',
    'alter index converge_ledger.entries_id_key rename to another_name',
    'alter table converge_ledger.entries drop constraint entries_pkey;
         alter table converge_ledger.entries add constraint entries_pkey primary key (context_id, sequence) deferrable',
    'alter table converge_ledger.contexts drop constraint contexts_pkey',
    'alter table converge_ledger.subtrees drop constraint subtrees_pkey',
    'alter table converge_ledger.node drop constraint node_pkey',
    -- Who may switch the triggers off.
    'grant set on parameter session_replication_role to regress_anybody',
    'grant set on parameter session_replication_role to public'
  ]) with ordinality as c (change, n) left join lateral pg_temp.alter(change) as f on true order by n, f.detail collate "C";

-- What is none: an index, an AFTER trigger, a grant, statistics, storage options, a comment, a publication.
select change, f.kind, f.detail from unnest(array[
    'create index on converge_ledger.entries (key, appended_at)',
    'create trigger mine after insert on converge_ledger.entries for each row execute function suppress_redundant_updates_trigger()',
    'create trigger mine before insert on converge_ledger.entries for each row execute function suppress_redundant_updates_trigger()',
    'grant select on converge_ledger.entries to regress_anybody',
    'alter table converge_ledger.entries alter column key set statistics 500',
    'alter table converge_ledger.entries set (fillfactor = 100)',
    'alter table converge_ledger.entries alter column payload set storage external',
    'comment on table converge_ledger.entries is ''mine''',
    'create publication p for table converge_ledger.entries with (publish = insert)',
    'alter table converge_ledger.entries owner to regress_anybody'
  ]) with ordinality as c (change, n) left join lateral pg_temp.alter(change) as f on true order by n;
select * from ledger_check();
drop role regress_anybody;
