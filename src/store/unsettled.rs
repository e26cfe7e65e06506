//! Which contexts have entries that nobody has judged yet.

use super::scan::{Key, Scan, Sight};
use super::write;
use crate::ledger::{unsettled, Ledger};
use crate::memory;
use converge_ledger_core::limits::MAX_NUMBER;
use pgrx::pg_sys;

/// Noted of a context whose forks are to be put in order. It keeps readers from nothing.
pub const OF_FORK: i64 = MAX_NUMBER;

/// From which sequence on the entries of a context are not judged; none if all are.
pub fn first(ledger: &Ledger, context: &str, sight: Sight) -> Option<i64> {
    Scan::by_key_if_any(ledger.unsettled, sight, &[Key::Text(1, context)])?
        .next()
        .map(|row| row.int8(unsettled::FIRST))
}

/// All that is noted, in the order of the contexts, the lowest of each first; none if nothing is.
pub fn all(ledger: &Ledger, sight: Sight) -> Option<Scan> {
    Scan::by_key_if_any(ledger.unsettled, sight, &[])
}

/// The last sequence of a context that can be judged, whether it exists or not.
pub fn end(ledger: &Ledger, context: &str, sight: Sight) -> i64 {
    first(ledger, context, sight).map_or(MAX_NUMBER, |first| first - 1)
}

/// Notes that the entries of a context from `first` on are not judged. Waits for nobody.
pub fn add(ledger: &Ledger, context: &str, first: i64, source: &str) {
    let mut values = [pg_sys::Datum::from(0); unsettled::COUNT];
    values[unsettled::FIRST - 1] = pg_sys::Datum::from(first);
    values[unsettled::CONTEXT_ID - 1] = write::text(context);
    values[unsettled::SOURCE - 1] = write::text(source);
    // SAFETY: reads the clock.
    values[unsettled::SINCE - 1] = unsafe { pg_sys::Datum::from(pg_sys::GetCurrentTimestamp()) };
    write::insert(ledger.unsettled, &values);
}

/// One row of the table.
pub struct Note {
    pub first: i64,
    place: pg_sys::ItemPointerData,
}

/// What is noted of a context.
pub fn notes(ledger: &Ledger, context: &str) -> Vec<Note> {
    let keys = [Key::Text(1, context)];
    let mut scan = Scan::by_key(ledger.unsettled, Sight::Latest, &keys);
    let mut notes = Vec::new();
    while let Some(row) = scan.next() {
        let note = Note {
            first: row.int8(unsettled::FIRST),
            place: row.place(),
        };
        memory::push(&mut notes, note);
    }
    notes
}

/// Removes a note. The caller holds the lock of its context, without which nobody removes any.
pub fn remove(ledger: &Ledger, note: Note) {
    write::delete(ledger.unsettled, note.place);
}

/// The next context behind `after` of which something is noted, and by which subscription.
pub fn next(ledger: &Ledger, after: &str, sight: Sight) -> Option<(String, String)> {
    let mut scan = Scan::by_key(ledger.unsettled, sight, &[Key::Beyond(1, after)]);
    let row = scan.next()?;
    Some((
        memory::text(row.text(unsettled::CONTEXT_ID)),
        memory::text(row.text(unsettled::SOURCE)),
    ))
}
