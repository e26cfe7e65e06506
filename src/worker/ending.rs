//! The end of a worker on SIGTERM.
//!
//! By default PostgreSQL ends the worker with a FATAL error and exit code 1, and logs both like failures. A worker that ends because the server stops
//! logs no error and exits with code 0. So does a worker that the server would not start again.

use pgrx::pg_sys;
use std::sync::atomic::{AtomicBool, Ordering};

extern "C-unwind" {
    /// Ends the process at the next safe point; the bindings' wrapper cannot serve as a handler.
    fn die(signal: i32);
}

static TOLD: AtomicBool = AtomicBool::new(false);
static mut FORMER_HOOK: pg_sys::emit_log_hook_type = None;

/// Called once in each worker.
pub fn init() {
    // SAFETY: registers functions of this library for the rest of the process, which has one thread.
    unsafe {
        FORMER_HOOK = pg_sys::emit_log_hook;
        pg_sys::emit_log_hook = Some(log);
        pg_sys::on_proc_exit(Some(leave), pg_sys::Datum::from(0));
    }
}

/// The handler of SIGTERM.
pub unsafe extern "C-unwind" fn told(signal: i32) {
    TOLD.store(true, Ordering::Relaxed);
    // SAFETY: PostgreSQL's own handler.
    unsafe { die(signal) };
}

/// Runs at the end of the process, after PostgreSQL has cleaned up.
unsafe extern "C-unwind" fn leave(code: i32, _argument: pg_sys::Datum) {
    if code == 1 && TOLD.load(Ordering::Relaxed) && (is_never_restarted() || server_stops()) {
        // SAFETY: as in an error of a callback, the callbacks that are left run, and the process ends with this code.
        unsafe { pg_sys::proc_exit(0) };
    }
}

/// The server restarts the launcher if its exit code is not 0.
fn is_never_restarted() -> bool {
    // SAFETY: the server's description of this worker, set before its main function is called.
    unsafe { (*pg_sys::MyBgworkerEntry).bgw_restart_time == pg_sys::BGW_NEVER_RESTART }
}

/// Called for each message that this process logs. Raises nothing.
unsafe extern "C-unwind" fn log(error: *mut pg_sys::ErrorData) {
    // SAFETY: PostgreSQL calls it with an error under way, which it may change in this way; the hook that was there before has been given the
    // same promise.
    unsafe {
        let ends = (*error).elevel == pg_sys::FATAL as i32
            && (*error).sqlerrcode
                == pg_sys::errcodes::PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN as i32;
        if ends && TOLD.load(Ordering::Relaxed) && server_stops() {
            (*error).output_to_server = false;
        }
        if let Some(former) = FORMER_HOOK {
            former(error);
        }
    }
}

/// Whether the server is being stopped. The postmaster writes its state into the file `postmaster.pid` before it signals its children. No variable
/// in shared memory has it.
fn server_stops() -> bool {
    // LOCK_FILE_LINE_PM_STATUS and PM_STATUS_STOPPING of utils/pidfile.h, which the bindings lack.
    const LINE: usize = 8;
    let Ok(lines) = std::fs::read_to_string("postmaster.pid") else {
        return false;
    };
    let status = lines.lines().nth(LINE - 1);
    status.is_some_and(|status| status.trim_end() == "stopping")
}
