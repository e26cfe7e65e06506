//! Starts notifiers where they are needed. Knows databases only by what commits have marked.

use super::{describe, now, take_signals, wait};
use crate::report;
use crate::shared;
use pgrx::pg_sys;

/// How long to wait for a free worker slot before the next try.
const SLOT_RETRY_MICROSECONDS: i64 = 5_000_000;

#[pgrx::pg_guard]
#[no_mangle]
pub extern "C-unwind" fn converge_ledger_launcher(_argument: pg_sys::Datum) {
    take_signals();
    shared::launcher_began();
    let mut told_of_shortage = false;
    loop {
        while let Some(database) = shared::next_to_start(now()) {
            if start(database) {
                told_of_shortage = false;
                continue;
            }
            if !told_of_shortage {
                report::no_worker_slot().warn();
                told_of_shortage = true;
            }
            let retry = now() + SLOT_RETRY_MICROSECONDS;
            shared::notifier_ended(database, Some("no free worker slot"), |_| retry);
            break;
        }
        let pause = shared::next_start().map_or(60_000, |at| (at - now()) / 1_000 + 1);
        wait(pause.clamp(1, 60_000));
    }
}

fn start(database: pg_sys::Oid) -> bool {
    let mut worker = describe(c"converge_ledger notifier", c"converge_ledger_notifier");
    worker.bgw_flags =
        (pg_sys::BGWORKER_SHMEM_ACCESS | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION) as i32;
    worker.bgw_restart_time = pg_sys::BGW_NEVER_RESTART;
    worker.bgw_main_arg = pg_sys::Datum::from(database);
    // SAFETY: the description is complete and copied; no handle is asked for. The worker reports to shared memory.
    unsafe {
        worker.bgw_notify_pid = pg_sys::MyProcPid;
        pg_sys::RegisterDynamicBackgroundWorker(&mut worker, std::ptr::null_mut())
    }
}
