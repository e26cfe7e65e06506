-- A trigger of the user that discards a row, or changes it, does so before the stamp: what is hashed is what is
-- stored, and a discarded row leaves no gap.

begin;
create function pg_temp.censor() returns trigger language plpgsql as $$
begin
    if new.payload = 'secret' then return null; end if;
    new.metadata := new.metadata || '{"seen": true}';
    return new;
end $$;
create trigger censor before insert on converge_ledger.entries
    for each row execute function pg_temp.censor();

insert into converge_ledger.entries (context_id, payload)
values ('censored', 'a'), ('censored', 'secret'), ('censored', 'b'), ('censored', 'secret')
returning sequence, payload;
insert into converge_ledger.entries (context_id, payload) values ('censored', 'secret') returning sequence;
select ledger_append('censored', '', 'c');
select * from ledger_append_batch('censored', '', array['d', 'e']::bytea[]);
select sequence, ledger_text(payload), metadata from ledger_get('censored');

-- A function has nothing to return for a discarded row.
savepoint s;
\set VERBOSITY default
select ledger_append('censored', '', 'secret');
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select * from ledger_append_batch('censored', '', array['f', 'secret', 'g']::bytea[]);
\echo :LAST_ERROR_SQLSTATE
rollback to s;
select ledger_append('censored', '', 'f');
select * from ledger_check();
rollback;
