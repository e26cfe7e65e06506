-- What an administrator looks at.

create function converge_ledger.worker_status()
    returns table (library_loaded boolean, worker text, database_oid oid, pid integer, state text,
                   contexts_waiting bigint, announcements_sent bigint, failures bigint, last_error text)
    language c volatile parallel restricted
    as 'MODULE_PATHNAME', 'worker_status';
comment on function converge_ledger.worker_status() is
    'the background workers of this server, from shared memory';

create view @extschema@.ledger_status as
    select status.library_loaded, status.worker, database.datname as database, status.pid, status.state,
           status.contexts_waiting, status.announcements_sent, status.failures, status.last_error,
           null::bigint as entries_scrubbed, null::bigint as entries_total,
           null::timestamptz as scrub_began_at, null::timestamptz as last_scrub_ended_at
      from converge_ledger.worker_status() as status
      left join pg_catalog.pg_database as database on database.oid = status.database_oid
    union all
    select null, 'scrub', pg_catalog.current_database(), null,
           case when scrub.began_at is null then 'idle' else 'under way' end, null, null, scrub.faults, null,
           scrub.entries, greatest(scrub.entries, scrub.last_entries, table_size.reltuples::bigint),
           scrub.began_at, scrub.last_ended_at
      from converge_ledger.scrub_pass as scrub
      join pg_catalog.pg_class as table_size on table_size.oid = 'converge_ledger.entries'::regclass;
comment on view @extschema@.ledger_status is
    'whether the library is preloaded, its workers, and the scrub of this database: one row each';
comment on column @extschema@.ledger_status.library_loaded is
    'whether converge_ledger is in shared_preload_libraries';
comment on column @extschema@.ledger_status.worker is
    'launcher, notifier, reconciler or scrub';
comment on column @extschema@.ledger_status.database is
    'database of a notifier, reconciler or scrub';
comment on column @extschema@.ledger_status.pid is
    'its process, null while there is none';
comment on column @extschema@.ledger_status.state is
    'running, starting, idle or failed; of a scrub under way while a pass is';
comment on column @extschema@.ledger_status.contexts_waiting is
    'contexts with committed entries that are not announced yet; null when all contexts are to be looked at';
comment on column @extschema@.ledger_status.announcements_sent is
    'announcements since the server was started';
comment on column @extschema@.ledger_status.failures is
    'failures in a row; of a scrub the faults that this pass has found';
comment on column @extschema@.ledger_status.last_error is
    'message of the last failure';
comment on column @extschema@.ledger_status.entries_scrubbed is
    'entries that the pass under way has read';
comment on column @extschema@.ledger_status.entries_total is
    'entries that there are, estimated';
comment on column @extschema@.ledger_status.scrub_began_at is
    'when the pass under way began';
comment on column @extschema@.ledger_status.last_scrub_ended_at is
    'when the last complete pass ended';
