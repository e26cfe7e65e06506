//! A row on its way into `converge_ledger.entries`: read field by field, given back changed.

use super::stamp::Stamp;
use crate::ledger::entry;
use crate::memory;
use crate::report::{self, Failure};
use crate::store::scan::varlena_bytes;
use crate::store::timestamp;
use crate::store::write::Short;
use converge_ledger_core::limits::{FORMAT, MAX_ORIGIN_BYTES, SALT_BYTES};
use pgrx::pg_sys;

/// The columns that the ledger assigns.
pub struct Assigned {
    sequence: i64,
    lamport: i64,
    appended_at: i64,
    origin: Short<{ MAX_ORIGIN_BYTES + 1 }>,
    salt: Short<{ SALT_BYTES + 1 }>,
    leaf: Short<33>,
}

impl Assigned {
    pub fn new(stamp: &Stamp, origin: &str) -> Assigned {
        Assigned {
            sequence: stamp.sequence,
            lamport: stamp.lamport,
            appended_at: timestamp(stamp.appended_at),
            origin: Short::new(origin.as_bytes()),
            salt: Short::new(&stamp.salt),
            leaf: Short::new(stamp.leaf.as_bytes()),
        }
    }

    /// Column and value of each; valid while `self` stays where it is.
    pub fn datums(&self) -> [(usize, pg_sys::Datum); 7] {
        [
            (entry::SEQUENCE, pg_sys::Datum::from(self.sequence)),
            (entry::LAMPORT, pg_sys::Datum::from(self.lamport)),
            (entry::APPENDED_AT, pg_sys::Datum::from(self.appended_at)),
            (entry::FORMAT, pg_sys::Datum::from(i16::from(FORMAT))),
            (entry::ORIGIN, self.origin.datum()),
            (entry::SALT, self.salt.datum()),
            (entry::LEAF_HASH, self.leaf.datum()),
        ]
    }
}

/// A row of `converge_ledger.entries` as datums, columns numbered as in [`entry`].
pub struct NewRow<'a> {
    values: &'a mut [pg_sys::Datum],
    nulls: &'a mut [bool],
}

/// Room for the values and nulls of all columns. A table to which a user has not added many columns needs no allocation.
pub enum Columns {
    Few([pg_sys::Datum; FEW], [bool; FEW]),
    Many(Vec<pg_sys::Datum>, Vec<bool>),
}

const FEW: usize = 16;

impl Columns {
    /// # Safety
    /// A complete descriptor.
    pub unsafe fn of(descriptor: pg_sys::TupleDesc) -> Columns {
        // SAFETY: by the contract.
        let count = unsafe { (*descriptor).natts as usize };
        if count <= FEW {
            Columns::Few([pg_sys::Datum::from(0); FEW], [true; FEW])
        } else {
            let values = memory::filled(pg_sys::Datum::from(0), count);
            Columns::Many(values, memory::filled(true, count))
        }
    }
}

impl<'a> NewRow<'a> {
    /// Takes a tuple apart, into `columns`.
    ///
    /// # Safety
    /// `descriptor` describes `tuple`, a row of `converge_ledger.entries`, and has as many columns as `columns` was made
    /// for; the tuple outlives the result.
    pub unsafe fn deform(
        tuple: pg_sys::HeapTuple,
        descriptor: pg_sys::TupleDesc,
        columns: &'a mut Columns,
    ) -> NewRow<'a> {
        let (values, nulls) = match columns {
            Columns::Few(values, nulls) => (values.as_mut_slice(), nulls.as_mut_slice()),
            Columns::Many(values, nulls) => (values.as_mut_slice(), nulls.as_mut_slice()),
        };
        // SAFETY: by the contract; the arrays have one element for each column.
        unsafe {
            pg_sys::heap_deform_tuple(tuple, descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());
        }
        NewRow { values, nulls }
    }

    /// The row that a slot holds.
    ///
    /// # Safety
    /// A slot of `converge_ledger.entries` with all values set, which live as long as the result.
    pub unsafe fn of_slot(slot: *mut pg_sys::TupleTableSlot) -> NewRow<'a> {
        // SAFETY: by the contract; a slot has a value and a null for each column.
        unsafe {
            let count = (*(*slot).tts_tupleDescriptor).natts as usize;
            NewRow {
                values: std::slice::from_raw_parts_mut((*slot).tts_values, count),
                nulls: std::slice::from_raw_parts_mut((*slot).tts_isnull, count),
            }
        }
    }

    /// Makes all columns null.
    pub fn clear(&mut self) {
        self.nulls.fill(true);
    }

    /// Sets what the ledger assigns; `assigned` must outlive the row.
    pub fn assign(&mut self, assigned: &Assigned) {
        for (column, value) in assigned.datums() {
            self.set(column, value);
        }
    }

    /// The row as a tuple, in the current memory context.
    ///
    /// # Safety
    /// `descriptor` is the one of the table.
    pub unsafe fn form(&mut self, descriptor: pg_sys::TupleDesc) -> pg_sys::HeapTuple {
        // SAFETY: one datum of the column's type for each column, as they were read and `set`.
        unsafe {
            pg_sys::heap_form_tuple(
                descriptor,
                self.values.as_mut_ptr(),
                self.nulls.as_mut_ptr(),
            )
        }
    }

    pub fn datum(&self, column: usize) -> Option<pg_sys::Datum> {
        (!self.nulls[column - 1]).then_some(self.values[column - 1])
    }

    pub fn set(&mut self, column: usize, value: pg_sys::Datum) {
        self.values[column - 1] = value;
        self.nulls[column - 1] = false;
    }

    pub fn int8(&self, column: usize) -> Option<i64> {
        self.datum(column).map(|datum| datum.value() as i64)
    }

    pub fn int2(&self, column: usize) -> Option<i16> {
        self.datum(column).map(|datum| datum.value() as i16)
    }

    /// The bytes of a text or bytea column.
    pub fn bytes(&self, column: usize) -> Option<&[u8]> {
        // SAFETY: these columns are varlenas that live in the tuple or in the current memory context.
        self.datum(column)
            .map(|datum| unsafe { varlena_bytes(datum) })
    }

    /// A text column, checked: what passed a cast without function need not be valid.
    pub fn text(&self, column: usize) -> Result<Option<&str>, Failure> {
        self.bytes(column).map(utf8).transpose()
    }
}

/// What is stored as text, checked.
pub fn utf8(bytes: &[u8]) -> Result<&str, Failure> {
    std::str::from_utf8(bytes).map_err(|_| report::invalid_utf8())
}
