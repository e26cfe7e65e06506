//! The background workers of a preloaded server.
//!
//! One launcher for the cluster, connected to no database, starts a notifier for each database in which something was
//! appended; the notifier leaves when there was nothing to do for a while, or when its database is wanted. Writers never
//! wait for either.

mod launcher;
mod notifier;
mod settler;

use crate::ledger::{self, Ledger};
use pgrx::pg_sys;
use std::ffi::{c_char, CStr};

extern "C-unwind" {
    /// Ends the process at the next safe point; the bindings' wrapper cannot serve as a handler.
    fn die(signal: i32);
    fn SignalHandlerForConfigReload(signal: i32);
    /// Sets the latch, whatever the signal was sent for.
    fn procsignal_sigusr1_handler(signal: i32);
}

/// Registers the launcher. Called while the server loads its preloaded libraries.
pub fn init() {
    let mut worker = describe(c"converge_ledger launcher", c"converge_ledger_launcher");
    worker.bgw_flags = pg_sys::BGWORKER_SHMEM_ACCESS as i32;
    worker.bgw_restart_time = 5;
    // SAFETY: the description is complete and copied.
    unsafe { pg_sys::RegisterBackgroundWorker(&mut worker) };
}

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

/// Takes signals: SIGTERM ends the process wherever it waits, SIGHUP reloads the configuration, SIGUSR1 wakes it: the launcher, which is
/// connected to no database, would not hear otherwise that a notifier has ended.
fn take_signals() {
    const SIGHUP: i32 = 1;
    const SIGUSR1: i32 = 10;
    const SIGTERM: i32 = 15;
    // SAFETY: PostgreSQL's own handlers, set before signals are unblocked.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        {
            pg_sys::pqsignal(SIGHUP, Some(SignalHandlerForConfigReload));
            pg_sys::pqsignal(SIGTERM, Some(die));
            pg_sys::pqsignal(SIGUSR1, Some(procsignal_sigusr1_handler));
        }
        #[cfg(feature = "pg18")]
        {
            pg_sys::pqsignal_be(SIGHUP, Some(SignalHandlerForConfigReload));
            pg_sys::pqsignal_be(SIGTERM, Some(die));
            pg_sys::pqsignal_be(SIGUSR1, Some(procsignal_sigusr1_handler));
        }
        pg_sys::BackgroundWorkerUnblockSignals();
    }
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
        pgrx::check_for_interrupts!();
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
    // SAFETY: the frame of a transaction in a background worker. If something raises, the process ends, and with
    // it the transaction.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
    }
    let answer = with(ledger::ledger().ok().as_ref());
    // SAFETY: as above.
    unsafe {
        pg_sys::PopActiveSnapshot();
        pg_sys::CommitTransactionCommand();
    }
    pgrx::check_for_interrupts!();
    answer
}
