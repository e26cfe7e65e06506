//! Starts notifiers where they are needed. Knows databases only by what commits have marked.

use super::{describe, now, retry_at, take_signals, wait};
use crate::report;
use crate::shared;
use pgrx::pg_sys;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long to wait for a free worker slot before the next try.
const SLOT_RETRY_MICROSECONDS: i64 = 5_000_000;
/// How long not to speak of the same shortage again.
const SILENCE: Duration = Duration::from_secs(3_600);

type Handle = *mut pg_sys::BackgroundWorkerHandle;

#[pgrx::pg_guard]
#[no_mangle]
pub extern "C-unwind" fn converge_ledger_launcher(_argument: pg_sys::Datum) {
    // SAFETY: registers a function of this library for the end of this process.
    unsafe { pg_sys::before_shmem_exit(Some(left), pg_sys::Datum::from(0)) };
    take_signals();
    shared::launcher_began();
    let mut started: HashMap<pg_sys::Oid, Handle> = HashMap::new();
    let mut warned: Option<Instant> = None;
    loop {
        started.retain(|database, handle| {
            let ended = has_ended(*handle);
            if ended {
                // It has said so itself, unless it never came to life.
                let error = "the server could not start the notifier's process";
                shared::not_started(*database, error, retry_at);
                forget(*handle);
            }
            !ended
        });
        while let Some(database) = shared::next_to_start(now()) {
            if let Some(handle) = start(database) {
                shared::set_crowded(false);
                if let Some(former) = started.insert(database, handle) {
                    forget(former);
                }
                continue;
            }
            if warned.is_none_or(|at| at.elapsed() > SILENCE) {
                report::no_worker_slot().warn();
                warned = Some(Instant::now());
            }
            let retry = now() + SLOT_RETRY_MICROSECONDS;
            shared::not_started(database, "no free worker slot", |_| retry);
            shared::set_crowded(true);
        }
        let pause = shared::next_start().map_or(60_000, |at| (at - now()) / 1_000 + 1);
        wait(pause.clamp(1, 60_000));
    }
}

/// The process ends.
unsafe extern "C-unwind" fn left(_code: i32, _argument: pg_sys::Datum) {
    shared::launcher_ended();
}

/// Asks the server for a notifier; none if it has no free slot.
fn start(database: pg_sys::Oid) -> Option<Handle> {
    let mut worker = describe(c"converge_ledger notifier", c"converge_ledger_notifier");
    worker.bgw_flags =
        (pg_sys::BGWORKER_SHMEM_ACCESS | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION) as i32;
    worker.bgw_restart_time = pg_sys::BGW_NEVER_RESTART;
    worker.bgw_main_arg = pg_sys::Datum::from(database);
    let mut handle = std::ptr::null_mut();
    // SAFETY: the description is complete and copied; the handle is allocated in the memory of this process's main
    // function, which lasts as long as the process.
    let registered = unsafe {
        worker.bgw_notify_pid = pg_sys::MyProcPid;
        pg_sys::RegisterDynamicBackgroundWorker(&mut worker, &mut handle)
    };
    registered.then_some(handle)
}

/// Whether a notifier's process has ended, or could not be started.
fn has_ended(handle: Handle) -> bool {
    let mut pid = 0;
    // SAFETY: a handle from `start`, not yet forgotten. Takes a lock and compares.
    let status = unsafe { pg_sys::GetBackgroundWorkerPid(handle, &mut pid) };
    status == pg_sys::BgwHandleStatus::BGWH_STOPPED
}

fn forget(handle: Handle) {
    // SAFETY: the caller gives up the handle.
    unsafe { pg_sys::pfree(handle.cast()) };
}
