-- What users hang on the table of entries fires for the append functions as it does for INSERT: AFTER triggers by row and by
-- statement with transition tables, and foreign keys in both directions. No warning (of a leak, say) accompanies them.

begin;
set local client_min_messages = warning;
create table seen (way text, at int generated always as identity, sequence bigint, payload text);
create function pg_temp.see_row() returns trigger language plpgsql as $$
begin
    insert into seen (way, sequence, payload) values ('row', new.sequence, ledger_text(new.payload));
    return null;
end $$;
create function pg_temp.see_statement() returns trigger language plpgsql as $$
begin
    insert into seen (way, sequence, payload)
    select 'statement of ' || count(*) over (), sequence, ledger_text(payload) from inserted order by context_id, sequence;
    return null;
end $$;
create function pg_temp.see_begin() returns trigger language plpgsql as $$
begin
    insert into seen (way) values ('begin');
    return null;
end $$;
create trigger see_row after insert on converge_ledger.entries for each row execute function pg_temp.see_row();
create trigger see_statement after insert on converge_ledger.entries referencing new table as inserted
    for each statement execute function pg_temp.see_statement();
create trigger see_begin before insert on converge_ledger.entries for each statement execute function pg_temp.see_begin();
select ledger_append('after', 'facts', 'function');
select * from ledger_append_batch('after', 'facts', array['batch 1', 'batch 2', 'batch 3']::bytea[]);
select * from ledger_append_batch('after', 'facts', '{}');
insert into converge_ledger.entries (context_id, key, payload) values ('after', 'facts', 'insert 1'), ('after', 'facts', 'insert 2');
-- A retry inserts nothing.
select ledger_append('after', 'facts', 'once', id => 'once');
select ledger_append('after', 'facts', 'once', id => 'once');
select way, sequence, payload from seen order by at;
-- Each leaf in a transition table is the one that is stored.
create function pg_temp.compare() returns trigger language plpgsql as $$
begin
    if exists (select from inserted as i left join converge_ledger.entries as e using (context_id, sequence) where i is distinct from e) then
        raise 'differs';
    end if;
    return null;
end $$;
create trigger compare after insert on converge_ledger.entries referencing new table as inserted
    for each statement execute function pg_temp.compare();
select * from ledger_append_batch('after', 'facts', (select array_agg(int4send(i)) from generate_series(1, 600) as i));
select * from ledger_check('after');
rollback;

-- A foreign key of the entries, and one to them.
begin;
set local client_min_messages = warning;
create table kinds (key text collate "C" primary key);
insert into kinds values ('facts'), ('');
alter table converge_ledger.entries add constraint known_kind foreign key (key) references kinds not valid;
create table notes (context_id text collate "C", sequence bigint, note text,
    foreign key (context_id, sequence) references converge_ledger.entries deferrable initially deferred);
insert into notes values ('foreign key', 2, 'early');
select ledger_append('foreign key', 'facts', 'x');
select * from ledger_append_batch('foreign key', 'facts', '{y,z}');
savepoint s;
\set VERBOSITY terse
select ledger_append('foreign key', 'unknown', 'x');
rollback to s;
select * from ledger_append_batch('foreign key', 'unknown', '{y,z}');
rollback to s;
set constraints all immediate;
select sequence, key, note from ledger_get('foreign key') left join notes using (context_id, sequence) order by sequence;
select * from ledger_check('foreign key');
rollback;
-- Both at once, and a trigger that appends: slots and relations that one opens do not disturb the other.
begin;
set local client_min_messages = warning;
create table kinds (key text collate "C" primary key);
insert into kinds values ('facts'), ('');
alter table converge_ledger.entries add constraint known_kind foreign key (key) references kinds not valid;
create function pg_temp.echo() returns trigger language plpgsql as $$
begin
    if new.context_id = 'echoed' then perform ledger_append('echo', new.key, new.payload); end if;
    return null;
end $$;
create function pg_temp.count_up() returns trigger language plpgsql as $$
begin
    raise warning 'transition table: %', (select string_agg(context_id || ' ' || sequence, ', ' order by context_id, sequence) from inserted);
    return null;
end $$;
create trigger echo after insert on converge_ledger.entries for each row execute function pg_temp.echo();
create trigger count_up after insert on converge_ledger.entries referencing new table as inserted
    for each statement execute function pg_temp.count_up();
select * from ledger_append_batch('echoed', 'facts', '{a,b}');
select ledger_append('echoed', 'facts', 'c');
select context_id, sequence, ledger_text(payload) from converge_ledger.entries where context_id like 'echo%' order by 1, 2;
rollback;
