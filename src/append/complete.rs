//! Inserts complete entries of other nodes: as they would be delivered, or at places that they have had before.

use super::direct::Inserter;
use super::head::Way;
use super::place;
use super::row::NewRow;
use crate::incident::Fields;
use crate::ledger::entry;
use crate::receive::{self, Fate};
use crate::report::Failure;
use pgrx::pg_sys;

impl Inserter {
    /// Takes in a complete entry of another node, as if a subscription had delivered it.
    pub fn deliver(&mut self, fields: &Fields) -> Result<Fate, Failure> {
        // SAFETY: as in `insert`.
        unsafe {
            self.forget_last_row();
            self.fill_fields(fields);
        }
        // Without a leaf hash the trigger would take it for a row to append.
        let is_complete = fields.bytes(entry::LEAF_HASH).is_some();
        if self.fires && is_complete {
            return Ok(match self.insert_complete()? {
                true => Fate::Stored,
                false => Fate::Dropped,
            });
        }
        // SAFETY: the slot holds the values that were filled in.
        let row = unsafe { NewRow::of_slot(self.slot) };
        let fate = receive::arrive(&self.ledger, &row, Way::AtOnce)?;
        if fate == Fate::Stored {
            self.insert_unjudged();
        }
        Ok(fate)
    }

    /// Puts an entry at a place that it has had before: it is verified, but not judged, and fires no trigger. Errors: XX001 where it
    /// does not hash to its leaf as it would be stored.
    pub fn put_back(&mut self, fields: &Fields) -> Result<(), Failure> {
        // SAFETY: as in `insert`; the row is read before it is stored.
        unsafe {
            self.forget_last_row();
            self.fill_fields(fields);
            place::read(&NewRow::of_slot(self.slot), &mut String::new())?;
        }
        self.insert_unjudged();
        Ok(())
    }

    fn insert_unjudged(&mut self) {
        // SAFETY: the slot holds the values that were filled in; inserting copies them into a tuple.
        unsafe {
            pg_sys::ExecStoreVirtualTuple(self.slot);
            pg_sys::simple_table_tuple_insert(self.relation, self.slot);
            self.insert_index_entries(self.slot);
        }
    }

    /// Inserts the complete row in the slot as the executor would; false if a trigger has swallowed it.
    fn insert_complete(&mut self) -> Result<bool, Failure> {
        // SAFETY: as in `insert_fired`.
        unsafe {
            pg_sys::ExecStoreVirtualTuple(self.slot);
            if !pg_sys::ExecBRInsertTriggers(self.state, self.result, self.slot) {
                return Ok(false);
            }
            if !(*(*self.relation).rd_att).constr.is_null() {
                pg_sys::ExecConstraints(self.result, self.slot, self.state);
            }
            pg_sys::simple_table_tuple_insert(self.relation, self.slot);
            let recheck = self.insert_index_entries(self.slot);
            pg_sys::ExecARInsertTriggers(self.state, self.result, self.slot, recheck, self.capture);
        }
        Ok(true)
    }

    /// Sets all of the ledger's columns; the slot stays empty.
    ///
    /// # Safety
    /// As [`Inserter::fill`].
    unsafe fn fill_fields(&mut self, fields: &Fields) {
        // SAFETY: by the contract.
        unsafe {
            if let Some(clear) = (*(*self.slot).tts_ops).clear {
                pg_sys::ffi::pg_guard_ffi_boundary(|| clear(self.slot));
            }
            let mut row = NewRow::of_slot(self.slot);
            row.clear();
            for (at, value) in fields.0.iter().enumerate() {
                if let Some(value) = value {
                    row.set(at + 1, *value);
                }
            }
        }
    }
}
