//! Follows transactions and subtransactions to their ends, for all that is kept in backend memory.

use crate::announce;
use crate::append::direct;
use crate::append::heads::{self, with_heads};
use crate::append::identity;
use crate::guard::alter;
use crate::incident;
use crate::memory;
use crate::receive;
use crate::report::Failure;
use crate::shared;
use crate::utility;
use pgrx::pg_sys;

/// Registers for the ends of transactions. Called once, when the library is loaded.
pub fn init() {
    // SAFETY: both are functions of this library, which is never unloaded.
    unsafe {
        pg_sys::RegisterXactCallback(Some(transaction), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(subtransaction), std::ptr::null_mut());
    }
}

unsafe extern "C-unwind" fn transaction(
    event: pg_sys::XactEvent::Type,
    _argument: *mut std::ffi::c_void,
) {
    use pg_sys::XactEvent::*;
    match event {
        // Here an error still aborts the transaction, as it should.
        XACT_EVENT_PRE_COMMIT => raising(|| {
            receive::at_commit()?;
            with_heads(|heads| heads.before_commit())?;
            identity::before_commit()?;
            incident::at_commit();
            announce::at_commit()
        }),
        XACT_EVENT_PRE_PREPARE => raising(|| {
            receive::at_commit()?;
            with_heads(|heads| heads.before_commit())?;
            identity::before_commit()?;
            announce::at_prepare()
        }),
        // From here on only memory is cleared: an error would take the server down.
        XACT_EVENT_COMMIT => {
            heads::at_end(announce::committed);
            receive::committed();
            end(true);
            utility::committed();
            shared::tell_of_ledger();
        }
        XACT_EVENT_PREPARE => {
            heads::at_end(announce::prepared);
            // The worker finds nothing before the transaction is committed, and then looks again.
            receive::committed();
            end(false);
            utility::committed();
        }
        XACT_EVENT_ABORT => {
            end(false);
            utility::aborted();
        }
        _ => {}
    }
}

fn raising(work: fn() -> Result<(), Failure>) {
    // SAFETY: the guard is the outermost Rust frame of the callback.
    unsafe {
        memory::guard(|| {
            if let Err(failure) = work() {
                failure.raise();
            }
        });
    }
}

fn end(committed: bool) {
    heads::at_end(|heads| heads.end(committed));
    direct::forget_calls(0);
    alter::forget(0, committed);
    incident::end();
    receive::end();
    identity::end();
    if !committed {
        // The name may come from a row that this transaction wrote.
        identity::forget();
    }
    memory::forget();
}

unsafe extern "C-unwind" fn subtransaction(
    event: pg_sys::SubXactEvent::Type,
    _own: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _argument: *mut std::ffi::c_void,
) {
    use pg_sys::SubXactEvent::*;
    if event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB {
        return;
    }
    // SAFETY: reads the state of the subtransaction that is ending, which is still the current one.
    let level = unsafe { pg_sys::GetCurrentTransactionNestLevel() };
    if event == SUBXACT_EVENT_COMMIT_SUB {
        heads::at_end(|heads| heads.commit_subtransaction(level));
    } else {
        heads::at_end(|heads| heads.abort_subtransaction(level));
        direct::forget_calls(level);
        alter::forget(level, false);
        receive::aborted_subtransaction();
        identity::forget();
        utility::aborted();
    }
}
