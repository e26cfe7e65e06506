//! The background workers of a preloaded server.
//!
//! One launcher for the cluster, connected to no database, starts a notifier for each database in which something was
//! appended; the notifier leaves when there was nothing to do for a while, or when its database is wanted. For each database with a ledger
//! it starts a reconciler whenever a round is due, which leaves after it. Writers never wait for any of them.

mod announced;
mod databases;
mod ending;
mod launcher;
mod notifier;
mod reconciler;
mod settler;
mod spilled;
mod sweeper;
mod trouble;

use crate::ledger::{self, Ledger};
use crate::sql::{self, Setting};
use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::PgTryBuilder;
use std::ffi::{c_char, CStr};

extern "C-unwind" {
    // The bindings' wrappers cannot serve as handlers.
    fn SignalHandlerForConfigReload(signal: i32);
    /// Sets the latch, whatever the signal was sent for.
    fn procsignal_sigusr1_handler(signal: i32);
}

/// Settings that roles and databases may have and that would change what a worker does, end it, or make it wait. Most of them the owner of a
/// database may set, who need not be a superuser.
const SETTINGS: &[Setting] = &[
    // First, because the others are set with the rights of the role.
    (c"role", c"none"),
    // An error that is caught must not end the process.
    (c"exit_on_error", c"off"),
    (c"lock_timeout", c"0"),
    (c"statement_timeout", c"0"),
    (c"idle_in_transaction_session_timeout", c"0"),
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    (c"transaction_timeout", c"0"),
    (c"default_transaction_isolation", c"read committed"),
    (c"default_transaction_read_only", c"off"),
    (c"default_transaction_deferrable", c"off"),
    // What it puts at its place has come from other nodes.
    (c"session_replication_role", c"replica"),
    (c"row_security", c"on"),
    // What it writes down reads the same in every database.
    (c"DateStyle", c"ISO, MDY"),
    (c"IntervalStyle", c"postgres"),
    (c"bytea_output", c"hex"),
    (c"extra_float_digits", c"1"),
    // Its statements are small, and find their rows by indexes, whatever a database has chosen for its own.
    (c"jit", c"off"),
    (c"max_parallel_workers_per_gather", c"0"),
    (c"enable_indexscan", c"on"),
    (c"enable_bitmapscan", c"on"),
    (c"enable_nestloop", c"on"),
    (c"plan_cache_mode", c"auto"),
];

/// Registers the launcher. Called while the server loads its preloaded libraries. None runs under pg_upgrade, whose servers are nobody's to
/// write into.
pub fn init() {
    // SAFETY: a global that the postmaster sets before it loads libraries.
    if unsafe { pg_sys::IsBinaryUpgrade } {
        return;
    }
    let mut worker = describe(c"converge_ledger launcher", c"converge_ledger_launcher");
    worker.bgw_flags = CONNECTED;
    worker.bgw_restart_time = 5;
    // SAFETY: the description is complete and copied.
    unsafe { pg_sys::RegisterBackgroundWorker(&mut worker) };
}

/// A worker that can connect. The launcher does so without a database, to read which there are.
const CONNECTED: i32 =
    (pg_sys::BGWORKER_SHMEM_ACCESS | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION) as i32;

fn describe(name: &CStr, function: &CStr) -> pg_sys::BackgroundWorker {
    let mut worker = pg_sys::BackgroundWorker {
        bgw_start_time: pg_sys::BgWorkerStartTime::BgWorkerStart_RecoveryFinished,
        ..Default::default()
    };
    copy(name, &mut worker.bgw_name);
    copy(name, &mut worker.bgw_type);
    copy(c"converge_ledger", &mut worker.bgw_library_name);
    copy(function, &mut worker.bgw_function_name);
    worker
}

fn copy(from: &CStr, to: &mut [c_char]) {
    for (to, from) in to.iter_mut().zip(from.to_bytes_with_nul()) {
        *to = *from as c_char;
    }
}

/// Takes signals: SIGTERM ends the process wherever it waits, SIGHUP reloads the configuration, SIGUSR1 wakes it: the launcher
/// hears by it that a process has ended.
fn take_signals() {
    const SIGHUP: i32 = 1;
    const SIGUSR1: i32 = 10;
    const SIGTERM: i32 = 15;
    ending::init();
    // SAFETY: PostgreSQL's own handlers, or what calls them, set before signals are unblocked.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        {
            pg_sys::pqsignal(SIGHUP, Some(SignalHandlerForConfigReload));
            pg_sys::pqsignal(SIGTERM, Some(ending::told));
            pg_sys::pqsignal(SIGUSR1, Some(procsignal_sigusr1_handler));
        }
        #[cfg(feature = "pg18")]
        {
            pg_sys::pqsignal_be(SIGHUP, Some(SignalHandlerForConfigReload));
            pg_sys::pqsignal_be(SIGTERM, Some(ending::told));
            pg_sys::pqsignal_be(SIGUSR1, Some(procsignal_sigusr1_handler));
        }
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// Connects this process to a database as the bootstrap superuser, with settings of its own.
fn connect(database: pg_sys::Oid, flags: u32, synchronous_commit: &CStr) {
    // SAFETY: ends the process if the database is gone. The database may have a setting that makes another role of the session's.
    unsafe {
        pg_sys::BackgroundWorkerInitializeConnectionByOid(database, pg_sys::InvalidOid, flags);
        let superuser = pg_sys::Oid::from(pg_sys::BOOTSTRAP_SUPERUSERID);
        if pg_sys::GetSessionUserId() != superuser {
            pg_sys::SetSessionAuthorization(superuser, true);
        }
    }
    for (name, value) in SETTINGS.iter().chain(&sql::MEANING) {
        keep(name, value);
    }
    keep(c"synchronous_commit", synchronous_commit);
}

/// Gives a setting the value that it keeps, whatever the configuration says later.
fn keep(name: &CStr, value: &CStr) {
    // SAFETY: the setting exists in every server and takes this value. Unlike PGC_USERSET, PGC_SUSET looks up no right of the role, for
    // which there would have to be a transaction.
    unsafe {
        pg_sys::SetConfigOption(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_OVERRIDE,
        );
    }
}

/// Runs `work`; if it raises, tells `failed` why, and raises on if that wants it.
fn reporting(work: fn(), failed: fn(&str) -> bool) {
    PgTryBuilder::new(work)
        .catch_others(|cause| {
            let (CaughtError::PostgresError(error)
            | CaughtError::ErrorReport(error)
            | CaughtError::RustPanic { ereport: error, .. }) = &cause;
            if failed(error.message()) {
                cause.rethrow();
            }
        })
        .execute();
}

/// Waits for the latch or the time, and serves what came by signal.
fn wait(milliseconds: i64) {
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    // SAFETY: the process's own latch; the calls may end the process.
    unsafe {
        pg_sys::WaitLatch(
            pg_sys::MyLatch,
            events as i32,
            milliseconds,
            pg_sys::PG_WAIT_EXTENSION,
        );
        pg_sys::ResetLatch(pg_sys::MyLatch);
        crate::interrupts::check();
    }
    reload();
}

/// Takes over settings that have changed.
fn reload() {
    // SAFETY: the flag is set by a signal; reading the files raises nothing that would not end the process.
    unsafe {
        if pg_sys::ConfigReloadPending != 0 {
            pg_sys::ConfigReloadPending = 0;
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
    }
}

fn now() -> pg_sys::TimestampTz {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

/// When to try again: each failure in a row doubles the pause, up to a minute.
fn retry_at(failures: u32) -> pg_sys::TimestampTz {
    const SECOND: i64 = 1_000_000;
    now() + (SECOND << failures.min(6)).min(60 * SECOND)
}

/// Runs `with` in a transaction of its own, on the ledger of this database if there is one.
fn in_transaction<T>(with: impl FnOnce(Option<&Ledger>) -> T) -> T {
    begin_transaction();
    let answer = with(ledger::ledger().ok().as_ref());
    commit();
    answer
}

fn begin_transaction() {
    // SAFETY: the frame of a transaction in a background worker. If something raises, the process ends, and with
    // it the transaction.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
    }
}

fn commit() {
    // SAFETY: as in `begin_transaction`.
    unsafe {
        pg_sys::PopActiveSnapshot();
        pg_sys::CommitTransactionCommand();
    }
    crate::interrupts::check();
}
