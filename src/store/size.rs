//! How many rows a table has, counted or estimated. Looks at no index.

use super::scan::{begin_heap_scan, Sight, FORWARD, NO_LOCK, SHARE};
use crate::interrupts;
use crate::ledger::{self, Table};
use pgrx::pg_sys;

/// Counts the rows of a table.
pub fn count(table: Table, sight: Sight) -> u64 {
    // SAFETY: as in `Scan::sorted`.
    unsafe {
        let heap = ledger::open(table, SHARE).relation;
        let slot = pg_sys::table_slot_create(heap, std::ptr::null_mut());
        let scan = begin_heap_scan(heap, sight);
        let mut rows = 0;
        while pg_sys::heap_getnextslot(scan, FORWARD, slot) {
            interrupts::check();
            rows += 1;
        }
        pg_sys::heap_endscan(scan);
        pg_sys::ExecDropSingleTupleTableSlot(slot);
        pg_sys::table_close(heap, NO_LOCK);
        rows
    }
}

/// How many rows the planner expects a table to have. Looks at its size, not at its rows.
pub fn estimate(table: Table) -> u64 {
    let (mut pages, mut rows, mut all_visible) = (0, 0.0, 0.0);
    // SAFETY: opened with a lock and closed again; if PostgreSQL raises, it closes the relation with the transaction.
    // Widths are asked for only where the pointer is not null.
    unsafe {
        let relation = ledger::open(table, SHARE).relation;
        pg_sys::estimate_rel_size(
            relation,
            std::ptr::null_mut(),
            &mut pages,
            &mut rows,
            &mut all_visible,
        );
        pg_sys::table_close(relation, NO_LOCK);
    }
    rows as u64
}
