//! Rows of `entries` that are in the table, but that its primary key does not find.

use super::scan::{begin_heap_scan, Row, Sight, FORWARD, NO_LOCK, SHARE};
use crate::interrupts;
use crate::ledger::{self, entry, Ledger};
use crate::memory;
use pgrx::pg_sys;
use std::collections::HashSet;

/// Which of these sequences of a context are in the table. Cost: reads the whole table.
pub fn among(ledger: &Ledger, context: &str, sequences: &HashSet<i64>) -> HashSet<i64> {
    let mut found = HashSet::new();
    // SAFETY: as in `Scan::sorted`; a row is read only while the slot holds it.
    unsafe {
        let heap = ledger::open(ledger.entries, SHARE).relation;
        let slot = pg_sys::table_slot_create(heap, std::ptr::null_mut());
        let scan = begin_heap_scan(heap, Sight::Latest);
        while pg_sys::heap_getnextslot(scan, FORWARD, slot) {
            interrupts::check();
            let row = Row::of_slot(slot);
            let sequence = row.int8(entry::SEQUENCE);
            if sequences.contains(&sequence) && row.text(entry::CONTEXT_ID) == context {
                memory::add(&mut found, sequence);
            }
        }
        pg_sys::heap_endscan(scan);
        pg_sys::ExecDropSingleTupleTableSlot(slot);
        pg_sys::table_close(heap, NO_LOCK);
    }
    found
}
