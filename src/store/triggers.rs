//! The state of the ledger's triggers on its tables: they fire for every session, also for replication.
//!
//! Whether they are there at all, and whether they are the ledger's own, is for `ledger_check` to say.

use crate::ledger::{self, Name, Table};
use crate::memory;
use pgrx::pg_sys;
use std::ffi::CStr;

/// The triggers of a table, as in sql/triggers.
pub fn names(table: Name) -> &'static [&'static CStr] {
    match table {
        Name::Entries => &[
            c"~ledger_stamp",
            c"ledger_append_only",
            c"ledger_append_only_statement",
        ],
        _ => &[c"ledger_guard", c"ledger_guard_statement"],
    }
}

const ALWAYS: u8 = b'A';
const NO_LOCK: pg_sys::LOCKMODE = pg_sys::NoLock as pg_sys::LOCKMODE;

/// Lets the triggers fire always. Waits for running appends only where there is something to change.
///
/// A data-only restore with disabled triggers ends with ENABLE TRIGGER ALL, after which replicated rows pass them by.
pub fn enable_always() {
    ledger::tables().into_iter().for_each(enable_always_on);
}

fn enable_always_on(table: Table) {
    let look = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
    // As ALTER TABLE … ENABLE ALWAYS TRIGGER takes it.
    let change = pg_sys::ShareRowExclusiveLock as pg_sys::LOCKMODE;
    // SAFETY: the table is opened and closed, with a lock that lasts to the end of the transaction; the names of
    // triggers that exist are all that is passed on. If PostgreSQL raises, it closes the relation, and no
    // destructor of this function matters to it.
    unsafe {
        let relation = ledger::open(table, look).relation;
        let sound = others(relation, table.name).next().is_none();
        pg_sys::table_close(relation, NO_LOCK);
        if sound {
            return;
        }
        let relation = ledger::open(table, change).relation;
        let names: Vec<&CStr> = memory::collect(others(relation, table.name));
        for name in names {
            #[cfg(feature = "pg15")]
            pg_sys::EnableDisableTrigger(relation, name.as_ptr(), ALWAYS as _, false, change);
            #[cfg(not(feature = "pg15"))]
            pg_sys::EnableDisableTrigger(
                relation,
                name.as_ptr(),
                pg_sys::InvalidOid,
                ALWAYS as _,
                false,
                true,
                change,
            );
        }
        pg_sys::table_close(relation, NO_LOCK);
        pg_sys::CommandCounterIncrement();
    }
}

/// Those of the triggers that are there and do not fire always.
///
/// # Safety
/// The relation is open, and stays so.
unsafe fn others(relation: pg_sys::Relation, table: Name) -> impl Iterator<Item = &'static CStr> {
    // SAFETY: by the contract.
    let triggers = unsafe { of(relation) };
    names(table).iter().copied().filter(move |name| {
        triggers.iter().any(|trigger| {
            // SAFETY: as above.
            let is_it = unsafe { CStr::from_ptr(trigger.tgname) } == *name;
            is_it && trigger.tgenabled as u8 != ALWAYS
        })
    })
}

/// All triggers of a table, each with a name.
///
/// # Safety
/// The relation is open, and stays so.
pub unsafe fn of<'a>(relation: pg_sys::Relation) -> &'a [pg_sys::Trigger] {
    // SAFETY: by the contract; a description has as many triggers as it says.
    unsafe {
        let description = (*relation).trigdesc;
        if description.is_null() {
            return &[];
        }
        let count = (*description).numtriggers as usize;
        std::slice::from_raw_parts((*description).triggers, count)
    }
}
