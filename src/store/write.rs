//! Inserts, replaces and deletes rows of the ledger's own tables, below the executor: no SQL, no rights, no triggers.
//!
//! Inserts nothing into `entries`, whose rows pass its trigger.

use crate::interrupts;
use crate::ledger::{self, Table};
use pgrx::pg_sys;

/// A new text datum.
pub fn text(value: &str) -> pg_sys::Datum {
    // SAFETY: copies the bytes of a valid str.
    let datum =
        unsafe { pg_sys::cstring_to_text_with_len(value.as_ptr().cast(), value.len() as i32) };
    pg_sys::Datum::from(datum)
}

/// A new bytea datum; its layout is that of text.
pub fn bytea(value: &[u8]) -> pg_sys::Datum {
    // SAFETY: copies the bytes; `cstring_to_text_with_len` does not look at them.
    let datum =
        unsafe { pg_sys::cstring_to_text_with_len(value.as_ptr().cast(), value.len() as i32) };
    pg_sys::Datum::from(datum)
}

/// A text or bytea value in the short form that PostgreSQL stores, in `SIZE` bytes of our own: for values that are
/// copied into a tuple at once. A value takes one byte more than its content, which must fit.
#[derive(Clone, Copy)]
pub struct Short<const SIZE: usize>([u8; SIZE]);

impl<const SIZE: usize> Short<SIZE> {
    pub fn new(content: &[u8]) -> Self {
        const { assert!(SIZE <= 127, "the header holds seven bits of length") };
        let mut bytes = [0; SIZE];
        let length = content.len() as u8 + 1;
        bytes[0] = if cfg!(target_endian = "little") {
            length << 1 | 1
        } else {
            length | 0x80
        };
        bytes[1..=content.len()].copy_from_slice(content);
        Short(bytes)
    }

    /// Valid while `self` stays where it is.
    pub fn datum(&self) -> pg_sys::Datum {
        pg_sys::Datum::from(self.0.as_ptr())
    }
}

/// Inserts one row without nulls. A duplicate key raises 23505.
pub fn insert(table: Table, values: &[pg_sys::Datum]) {
    insert_row(table, values.iter().copied().map(Some));
}

/// Inserts one row.
pub fn insert_row(table: Table, values: impl Iterator<Item = Option<pg_sys::Datum>>) {
    // SAFETY: CatalogTupleInsert forms index entries for indexes without expressions and predicates, which is all that these
    // tables have (crate::ledger sees to it); if PostgreSQL raises, it closes the relation with the transaction, and nothing here
    // has a destructor.
    unsafe {
        let relation = ledger::open_for_writing(table).relation;
        let tuple = form(relation, values);
        pg_sys::CatalogTupleInsert(relation, tuple);
        pg_sys::heap_freetuple(tuple);
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
    }
}

/// Replaces the row at `place`, which the caller just read and keeps others from changing, by one without nulls.
pub fn replace(table: Table, place: pg_sys::ItemPointerData, values: &[pg_sys::Datum]) {
    replace_row(table, place, values.iter().copied().map(Some));
}

/// Replaces the row at `place`, if there is one, else inserts one. Replacing costs no new index entry as long as there is room on the
/// page and no column of an index changes.
pub fn put_row(
    table: Table,
    place: Option<pg_sys::ItemPointerData>,
    values: impl Iterator<Item = Option<pg_sys::Datum>>,
) {
    match place {
        Some(place) => replace_row(table, place, values),
        None => insert_row(table, values),
    }
}

fn replace_row(
    table: Table,
    mut place: pg_sys::ItemPointerData,
    values: impl Iterator<Item = Option<pg_sys::Datum>>,
) {
    // SAFETY: as in `insert_row`; the place is that of a visible row.
    unsafe {
        let relation = ledger::open_for_writing(table).relation;
        let tuple = form(relation, values);
        pg_sys::CatalogTupleUpdate(relation, &mut place, tuple);
        pg_sys::heap_freetuple(tuple);
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
    }
}

/// A new row.
///
/// # Safety
/// An open table, and a value for each of its columns; those that were added and dropped again are null.
unsafe fn form(
    relation: pg_sys::Relation,
    values: impl Iterator<Item = Option<pg_sys::Datum>>,
) -> pg_sys::HeapTuple {
    // SAFETY: by the contract; the arrays have one element for each column. The caller's iterator only hands on datums.
    unsafe {
        let columns = (*(*relation).rd_att).natts as usize;
        let all: *mut pg_sys::Datum = pg_sys::palloc0(columns * size_of::<pg_sys::Datum>()).cast();
        let nulls: *mut bool = pg_sys::palloc0(columns).cast();
        for (at, value) in (0..columns).zip(values.chain(std::iter::repeat(None))) {
            match value {
                Some(value) => *all.add(at) = value,
                None => *nulls.add(at) = true,
            }
        }
        let tuple = pg_sys::heap_form_tuple((*relation).rd_att, all, nulls);
        pg_sys::pfree(all.cast());
        pg_sys::pfree(nulls.cast());
        tuple
    }
}

/// Lets this transaction delete rows that it has inserted: PostgreSQL refuses to delete those of the running command.
pub fn make_deletable() {
    // SAFETY: begins a new command in the running transaction; an outer statement goes on with its own number.
    unsafe { pg_sys::CommandCounterIncrement() };
}

/// Deletes the row at `place`, which the caller just read and keeps others from changing.
pub fn delete(table: Table, mut place: pg_sys::ItemPointerData) {
    // SAFETY: as in `insert`; the place is that of a visible row.
    unsafe {
        let relation = ledger::open_for_writing(table).relation;
        pg_sys::CatalogTupleDelete(relation, &mut place);
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
    }
}

/// Deletes a row of `entries` that does not continue its context. Other indexes than the ledger's do not matter.
pub fn delete_entry(entries: Table, mut place: pg_sys::ItemPointerData) {
    // SAFETY: as in `delete`.
    unsafe {
        let relation = ledger::open(entries, pg_sys::RowExclusiveLock as pg_sys::LOCKMODE).relation;
        pg_sys::CatalogTupleDelete(relation, &mut place);
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
    }
}

/// Deletes all rows that a scan finds.
pub fn delete_all(table: Table, mut scan: super::scan::Scan) {
    while let Some(row) = scan.next() {
        interrupts::check();
        delete(table, row.place());
    }
}
