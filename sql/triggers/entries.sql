-- The one way in, and the refusal of every way to change what is in.

create function converge_ledger.entries_before_insert() returns trigger
    language c
    as 'MODULE_PATHNAME', 'entries_before_insert';
comment on function converge_ledger.entries_before_insert() is
    'stamps an entry that arrives without a leaf hash, verifies one that arrives with it';

create function converge_ledger.entries_append_only() returns trigger
    language c
    as 'MODULE_PATHNAME', 'entries_append_only';
comment on function converge_ledger.entries_append_only() is
    'refuses UPDATE, DELETE and TRUNCATE';

-- Triggers of one kind fire in the order of their names: the tilde puts the stamp behind the others,
-- and the compiled code refuses to run when another one would fire after it.
create trigger "~ledger_stamp" before insert on converge_ledger.entries
    for each row execute function converge_ledger.entries_before_insert();
create trigger ledger_append_only before update or delete on converge_ledger.entries
    for each row execute function converge_ledger.entries_append_only();
create trigger ledger_append_only_statement before update or delete or truncate on converge_ledger.entries
    for each statement execute function converge_ledger.entries_append_only();

alter table converge_ledger.entries enable always trigger "~ledger_stamp";
alter table converge_ledger.entries enable always trigger ledger_append_only;
alter table converge_ledger.entries enable always trigger ledger_append_only_statement;

comment on trigger "~ledger_stamp" on converge_ledger.entries is
    'assigns sequence, Lamport time, time, salt and leaf hash';
comment on trigger ledger_append_only on converge_ledger.entries is
    'refuses UPDATE and DELETE of a row, also by replication';
comment on trigger ledger_append_only_statement on converge_ledger.entries is
    'refuses UPDATE, DELETE and TRUNCATE statements';

create function converge_ledger.drop_guard() returns event_trigger
    language c
    as 'MODULE_PATHNAME', 'drop_guard';
comment on function converge_ledger.drop_guard() is
    'loads the library, which refuses to drop the ledgers unless converge_ledger.allow_drop is on';

-- Many commands can drop the extension by a cascade; the library itself refuses it, once it is loaded.
create event trigger converge_ledger_drop_guard on ddl_command_start
    execute function converge_ledger.drop_guard();
alter event trigger converge_ledger_drop_guard enable always;
comment on event trigger converge_ledger_drop_guard is
    'loads the library, which refuses to drop the ledgers unless converge_ledger.allow_drop is on';

create function converge_ledger.alter_guard() returns event_trigger
    language c
    as 'MODULE_PATHNAME', 'alter_guard';
comment on function converge_ledger.alter_guard() is
    'refuses a command that leaves a table of the ledger unfit, unless converge_ledger.allow_drop is on';

create event trigger converge_ledger_alter_guard on ddl_command_end
    execute function converge_ledger.alter_guard();
alter event trigger converge_ledger_alter_guard enable always;
comment on event trigger converge_ledger_alter_guard is
    'refuses a command that leaves a table of the ledger unfit, unless converge_ledger.allow_drop is on';
