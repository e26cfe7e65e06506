-- Triggers that append themselves, to another context and to the same one, before and after their row.

begin;
create table orders (number int primary key, amount int);
create function pg_temp.log_order() returns trigger language plpgsql as $$
begin
    perform ledger_append('orders', lower(tg_op), to_jsonb(new));
    return new;
end $$;
create trigger log_order after insert or update on orders
    for each row execute function pg_temp.log_order();
insert into orders select i, 10 * i from generate_series(1, 3) as i;
update orders set amount = amount + 1 where number = 2;
select sequence, key, ledger_text(payload) from ledger_get('orders');

-- AFTER an entry: one to an audit context, and one more to the same context.
create function pg_temp.follow() returns trigger language plpgsql as $$
begin
    if new.key = 'facts' then
        perform ledger_append('nested, audit', 'audit', convert_to('of ' || new.sequence, 'UTF8'));
        perform ledger_append(new.context_id, 'echo', convert_to('of ' || new.sequence, 'UTF8'));
    end if;
    return null;
end $$;
create trigger follow after insert on converge_ledger.entries
    for each row execute function pg_temp.follow();
select ledger_append('nested', 'facts', 'one');
select ledger_append('nested', 'facts', 'two');
insert into converge_ledger.entries (context_id, key, payload)
values ('nested', 'facts', 'three'), ('nested', 'facts', 'four') returning sequence;
select * from ledger_append_batch('nested', 'facts', array['five', 'six']::bytea[]);
select sequence, lamport, key, ledger_text(payload) from ledger_get('nested');
select sequence, lamport, key, ledger_text(payload) from ledger_get('nested, audit');
drop trigger follow on converge_ledger.entries;

-- BEFORE an entry: what the trigger appends comes first.
create function pg_temp.announce() returns trigger language plpgsql as $$
begin
    if new.key = 'facts' then
        insert into converge_ledger.entries (context_id, key, payload)
        values (new.context_id, 'before', new.payload), ('nested, audit', 'before', new.payload);
        perform ledger_append(new.context_id, 'just before', new.payload, id => 'id of ' || ledger_text(new.payload));
    end if;
    return new;
end $$;
create trigger announce before insert on converge_ledger.entries
    for each row execute function pg_temp.announce();
select ledger_append('nested, before', 'facts', 'one', received => 50);
select * from ledger_append_batch('nested, before', 'facts', array['two', 'three']::bytea[]);
insert into converge_ledger.entries (context_id, key, payload, id)
values ('nested, before', 'facts', 'four', 'own id') returning sequence;
select sequence, lamport, key, id, ledger_text(payload) from ledger_get('nested, before');

-- An error in a nested append ends the whole, unless the trigger catches it.
savepoint s;
\set VERBOSITY sqlstate
select ledger_append('nested, before', 'facts', 'two of them', id => 'id of two of them');
rollback to s;
create or replace function pg_temp.announce() returns trigger language plpgsql as $$
begin
    if new.key = 'facts' then
        begin
            perform ledger_append(new.context_id, 'undone', new.payload);
            perform ledger_append(new.context_id, '$reserved', new.payload);
        exception when reserved_name then
            new.metadata := '{"caught": true}';
        end;
    end if;
    return new;
end $$;
select ledger_append('nested, before', 'facts', 'seven', received => 100);
select sequence, lamport, key, metadata from ledger_get('nested, before', 12);
select * from ledger_check();
rollback;
