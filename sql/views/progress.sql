-- How far the checks and rebuilds are that run in this database.

create function converge_ledger.running_work()
    returns table (pid integer, command text, phase text, context_id text, contexts_done bigint, contexts_total bigint,
                   entries_done bigint, entries_total bigint, started_at timestamptz)
    language c volatile parallel restricted
    as 'MODULE_PATHNAME', 'running_work';
comment on function converge_ledger.running_work() is
    'the progress of checks and rebuilds in this database, from the server''s table of activity';

create view @extschema@.ledger_progress as
    select work.pid, work.command, work.phase, work.context_id, work.contexts_done, work.contexts_total,
           work.entries_done, work.entries_total,
           (work.entries_done / nullif(extract(epoch from clock_timestamp() - work.started_at), 0))::bigint
               as entries_per_second,
           work.started_at
      from converge_ledger.running_work() as work;
comment on view @extschema@.ledger_progress is
    'checks and rebuilds that run in this database: one row each';
comment on column @extschema@.ledger_progress.pid is
    'process that runs it';
comment on column @extschema@.ledger_progress.command is
    'ledger_check or ledger_rebuild';
comment on column @extschema@.ledger_progress.phase is
    'what it does now';
comment on column @extschema@.ledger_progress.context_id is
    'context that it is in, at most the first 104 bytes of its name';
comment on column @extschema@.ledger_progress.contexts_done is
    'contexts that it has left behind';
comment on column @extschema@.ledger_progress.contexts_total is
    'contexts to look at, estimated';
comment on column @extschema@.ledger_progress.entries_done is
    'entries that it has read';
comment on column @extschema@.ledger_progress.entries_total is
    'entries to read: estimated, for one context exact';
comment on column @extschema@.ledger_progress.entries_per_second is
    'entries read per second since it began';
comment on column @extschema@.ledger_progress.started_at is
    'when it began';
