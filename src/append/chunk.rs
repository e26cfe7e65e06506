//! Rows that go into the table together, as COPY puts them: one page lock and one WAL record for many, and straight into the
//! ledger's own key.
//!
//! Only for a table for which [`Inserter::is_plain`] holds. The calls of PostgreSQL are its own, not the bindings' wrappers:
//! an error jumps over the frames of this module, in which nothing has a destructor. A caller that owns something guards
//! the call.

use super::blocks::BLOCK;
use super::direct::Inserter;
use crate::ledger::entry;
use pgrx::pg_sys;
use std::ffi::c_int;

/// How many rows a chunk holds.
pub const ROWS: usize = BLOCK as usize;

/// How many bytes of rows a chunk gathers before it is put in: they are copied once on the way.
pub const BYTES: usize = 256 * 1024;

extern "C-unwind" {
    fn MakePerTupleExprContext(state: *mut pg_sys::EState) -> *mut pg_sys::ExprContext;
    fn table_slot_create(
        relation: pg_sys::Relation,
        registered: *mut *mut pg_sys::List,
    ) -> *mut pg_sys::TupleTableSlot;
    fn ExecStoreVirtualTuple(slot: *mut pg_sys::TupleTableSlot) -> *mut pg_sys::TupleTableSlot;
    fn ExecDropSingleTupleTableSlot(slot: *mut pg_sys::TupleTableSlot);
    fn index_insert(
        index: pg_sys::Relation,
        values: *mut pg_sys::Datum,
        nulls: *mut bool,
        place: pg_sys::ItemPointer,
        table: pg_sys::Relation,
        unique: pg_sys::IndexUniqueCheck::Type,
        unchanged: bool,
        info: *mut pg_sys::IndexInfo,
    ) -> bool;
    fn ExecInsertIndexTuples(
        result: *mut pg_sys::ResultRelInfo,
        slot: *mut pg_sys::TupleTableSlot,
        state: *mut pg_sys::EState,
        update: bool,
        no_duplicates_error: bool,
        conflict: *mut bool,
        arbiters: *mut pg_sys::List,
        #[cfg(not(feature = "pg15"))] only_summarizing: bool,
    ) -> *mut pg_sys::List;
}

/// Slots of the table; the first `filled` of them hold rows.
pub struct Chunk {
    slots: [*mut pg_sys::TupleTableSlot; ROWS],
    made: usize,
    filled: usize,
    /// Where the slots live.
    memory: pg_sys::MemoryContext,
}

impl Chunk {
    /// An empty chunk, whose slots will be made in the memory context that is current now.
    pub fn new() -> Chunk {
        Chunk {
            slots: [std::ptr::null_mut(); ROWS],
            made: 0,
            filled: 0,
            // SAFETY: reads a global of this backend.
            memory: unsafe { pg_sys::CurrentMemoryContext },
        }
    }

    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// The next empty slot, to be filled and then [added](Chunk::add).
    ///
    /// # Safety
    /// The chunk is not full. May raise.
    pub unsafe fn slot(&mut self, inserter: &Inserter) -> *mut pg_sys::TupleTableSlot {
        if self.made == self.filled {
            // SAFETY: the relation is open as long as the inserter is. After an error PostgreSQL itself sets the current
            // memory context.
            unsafe {
                let current = pg_sys::CurrentMemoryContext;
                pg_sys::CurrentMemoryContext = self.memory;
                self.slots[self.made] = table_slot_create(inserter.relation, std::ptr::null_mut());
                pg_sys::CurrentMemoryContext = current;
            }
            self.made += 1;
        }
        self.slots[self.filled]
    }

    /// Takes in the slot that was asked for last.
    ///
    /// # Safety
    /// All its values and nulls are set; they live until [`Chunk::insert`].
    pub unsafe fn add(&mut self) {
        // SAFETY: by the contract; the slot was empty.
        unsafe { ExecStoreVirtualTuple(self.slots[self.filled]) };
        self.filled += 1;
    }

    /// Puts all rows into the table and its indexes, what that allocates into the memory for a tuple; the chunk is empty then, except for a slot that was asked for and not
    /// yet added, which is the next one again.
    ///
    /// # Safety
    /// May raise: with 23505 where a row has an id that another one has, and `with_ids` says that there are rows
    /// with ids.
    pub unsafe fn insert(&mut self, inserter: &Inserter, with_ids: bool) {
        let slots = &mut self.slots[..self.filled];
        if slots.is_empty() {
            return;
        }
        let mut keys = [[pg_sys::Datum::from(0); 2]; ROWS];
        // SAFETY: the relation, its indexes and the executor's structures are open as long as the inserter is; the slots are
        // its own and hold complete rows. The values of the key are read before the slots are made to hold
        // tuples; what they point to lives on.
        unsafe {
            for (slot, key) in slots.iter().zip(&mut keys) {
                let values = (**slot).tts_values;
                *key = [entry::CONTEXT_ID, entry::SEQUENCE].map(|column| *values.add(column - 1));
            }
            let memory = per_tuple_memory(inserter.state);
            let caller = pg_sys::CurrentMemoryContext;
            pg_sys::CurrentMemoryContext = memory;
            let relation = inserter.relation;
            let command = (*inserter.state).es_output_cid;
            if let Some(multi_insert) = (*(*relation).rd_tableam).multi_insert {
                let count = slots.len() as c_int;
                multi_insert(
                    relation,
                    slots.as_mut_ptr(),
                    count,
                    command,
                    0,
                    std::ptr::null_mut(),
                );
            }
            match inserter.only_key().filter(|_| !with_ids) {
                Some((index, info)) => {
                    for (slot, key) in slots.iter().zip(&mut keys) {
                        index_insert(
                            index,
                            key.as_mut_ptr(),
                            [false; 2].as_mut_ptr(),
                            &raw mut (**slot).tts_tid,
                            relation,
                            pg_sys::IndexUniqueCheck::UNIQUE_CHECK_YES,
                            false,
                            info,
                        );
                    }
                }
                None => {
                    for slot in slots.iter() {
                        // No constraint is deferrable, or there would be a trigger: nothing to check again.
                        ExecInsertIndexTuples(
                            inserter.result,
                            *slot,
                            inserter.state,
                            false,
                            false,
                            std::ptr::null_mut(),
                            std::ptr::null_mut(),
                            #[cfg(not(feature = "pg15"))]
                            false,
                        );
                    }
                }
            }
            pg_sys::CurrentMemoryContext = caller;
            for slot in slots.iter() {
                if let Some(clear) = (*(**slot).tts_ops).clear {
                    clear(*slot);
                }
            }
        }
        if self.made > self.filled {
            self.slots.swap(0, self.filled);
        }
        self.filled = 0;
    }

    /// # Safety
    /// All rows were inserted.
    pub unsafe fn end(&mut self) {
        for slot in &self.slots[..self.made] {
            // SAFETY: made by this chunk, and used by nobody else.
            unsafe { ExecDropSingleTupleTableSlot(*slot) };
        }
        self.made = 0;
    }
}

/// The executor's memory for a tuple.
///
/// # Safety
/// The state of an inserter. May raise.
pub unsafe fn per_tuple_memory(state: *mut pg_sys::EState) -> pg_sys::MemoryContext {
    // SAFETY: by the contract; the context belongs to the state.
    unsafe {
        let mut context = (*state).es_per_tuple_exprcontext;
        if context.is_null() {
            context = MakePerTupleExprContext(state);
        }
        (*context).ecxt_per_tuple_memory
    }
}
