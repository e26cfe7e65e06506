-- What an administrator looks at.

create function converge_ledger.worker_status()
    returns table (library_loaded boolean, worker text, database_oid oid, pid integer, state text,
                   contexts_waiting bigint, announcements_sent bigint, failures bigint, last_error text)
    language c volatile parallel restricted
    as 'MODULE_PATHNAME', 'worker_status';
comment on function converge_ledger.worker_status() is
    'the background workers of this server, from shared memory';

create view ledger_status as
    select status.library_loaded, status.worker, database.datname as database, status.pid, status.state,
           status.contexts_waiting, status.announcements_sent, status.failures, status.last_error
      from converge_ledger.worker_status() as status
      left join pg_catalog.pg_database as database on database.oid = status.database_oid;
comment on view ledger_status is
    'whether the library is preloaded, and its workers: one row each';
comment on column ledger_status.library_loaded is
    'whether converge_ledger is in shared_preload_libraries';
comment on column ledger_status.worker is
    'launcher, notifier or reconciler';
comment on column ledger_status.database is
    'database of a notifier or reconciler';
comment on column ledger_status.pid is
    'its process, null while there is none';
comment on column ledger_status.state is
    'running, starting, idle or failed';
comment on column ledger_status.contexts_waiting is
    'contexts with committed entries that are not announced yet; null when all contexts are to be looked at';
comment on column ledger_status.announcements_sent is
    'announcements since the server was started';
comment on column ledger_status.failures is
    'failures in a row';
comment on column ledger_status.last_error is
    'message of the last failure';
