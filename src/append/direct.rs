//! Inserts rows into `converge_ledger.entries` without planning a statement, for the append functions.
//!
//! Does what the executor does for `INSERT`: checks rights and read-only state, fires all triggers (the stamp among
//! them), checks constraints, maintains indexes. Where a table has what it does not serve (rules, row security,
//! generated columns), it refuses rather than skip it.

use super::head::Way;
use super::row::{Assigned, NewRow};
use super::stamp::{self, Outcome, Terms};
use super::trigger;
use crate::ledger::{self, entry, Ledger, Open, BY_ID, BY_SEQUENCE};
use crate::memory;
use crate::report::{self, Failure};
use pgrx::pg_sys;
use std::cell::RefCell;

/// What the trigger has to know of the call behind a row.
#[derive(Clone, Copy)]
pub struct Call {
    slot: *mut pg_sys::TupleTableSlot,
    pub terms: Terms,
}

struct Running {
    /// Nesting level of the subtransaction in which the call began.
    level: i32,
    call: Call,
    outcome: Option<Outcome>,
}

thread_local! {
    /// The calls under way: a trigger of the user may itself call an append function.
    static RUNNING: RefCell<Vec<Running>> = const { RefCell::new(Vec::new()) };
}

/// The call that a row belongs to; rows of other statements have another slot.
pub fn call_of(slot: *mut pg_sys::TupleTableSlot) -> Option<Call> {
    RUNNING.with_borrow(|running| {
        running
            .last()
            .map(|running| running.call)
            .filter(|call| call.slot == slot)
    })
}

/// Tells the running call what became of its row.
pub fn answer(outcome: Outcome) {
    RUNNING.with_borrow_mut(|running| {
        if let Some(running) = running.last_mut() {
            running.outcome = Some(outcome);
        }
    });
}

/// A row as the append functions give it: datums of the columns that an application may set.
pub struct NewEntry {
    pub context: pg_sys::Datum,
    pub key: pg_sys::Datum,
    pub id: pg_sys::Datum,
    pub payload: pg_sys::Datum,
    pub metadata: pg_sys::Datum,
}

/// Entries on their way in, one after the other, within one SQL call.
pub struct Inserter {
    pub(super) ledger: Ledger,
    id_key: pg_sys::Oid,
    pub(super) relation: pg_sys::Relation,
    pub(super) state: *mut pg_sys::EState,
    pub(super) result: *mut pg_sys::ResultRelInfo,
    pub(super) slot: *mut pg_sys::TupleTableSlot,
    pub(super) capture: *mut pg_sys::TransitionCaptureState,
    /// Position of the primary key among the indexes, if a row without id goes into no other one.
    only_key: Option<usize>,
    pub(super) fires: bool,
}

impl Inserter {
    /// Opens the table for inserting rows one by one, as the current user, and fires the triggers of a statement. A plain table
    /// has none but the stamp, which then need not be fired for a row either.
    ///
    /// Errors: 42501 without the right to insert, 25006 in a read-only transaction, 0A000 where the table
    /// has what this path does not serve.
    pub fn open(ledger: &Ledger) -> Result<Inserter, Failure> {
        let mut inserter = Inserter::open_quietly(ledger)?;
        if !inserter.is_plain() {
            inserter.begin();
        }
        Ok(inserter)
    }

    /// As [`Inserter::open`], but no trigger is fired, unless [`Inserter::begin`] does it.
    pub fn open_quietly(ledger: &Ledger) -> Result<Inserter, Failure> {
        // SAFETY: both raise or return.
        unsafe {
            pg_sys::PreventCommandIfReadOnly(c"INSERT".as_ptr());
            pg_sys::PreventCommandIfParallelMode(c"INSERT".as_ptr());
        }
        check_rights(ledger)?;
        // SAFETY: opens the table with the lock of an INSERT and builds the state that the executor would build.
        // What is allocated lives in the current memory context; if PostgreSQL raises or a failure is
        // returned, the transaction's clean-up closes the relation and frees the memory.
        unsafe {
            let open = ledger::open(ledger.entries, pg_sys::RowExclusiveLock as pg_sys::LOCKMODE);
            open.require_keys();
            let relation = open.relation;
            let unserved = unserved_feature(relation);
            if let Some(feature) = unserved {
                pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
                return Err(report::bypassed(feature));
            }
            let state = pg_sys::CreateExecutorState();
            let result: *mut pg_sys::ResultRelInfo =
                pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast();
            (*result).type_ = pg_sys::NodeTag::T_ResultRelInfo;
            pg_sys::InitResultRelInfo(result, relation, 0, std::ptr::null_mut(), 0);
            (*state).es_output_cid = pg_sys::GetCurrentCommandId(true);
            pg_sys::ExecOpenIndices(result, false);
            Ok(Inserter {
                ledger: *ledger,
                id_key: open.key(BY_ID),
                relation,
                state,
                result,
                slot: pg_sys::table_slot_create(relation, std::ptr::null_mut()),
                capture: std::ptr::null_mut(),
                only_key: only_key(&open, &*result),
                fires: false,
            })
        }
    }

    /// Fires the triggers that an INSERT fires before its first row.
    pub fn begin(&mut self) {
        self.fires = true;
        // SAFETY: the structures are as `open_quietly` left them. Triggers may run SQL and raise.
        unsafe {
            pg_sys::AfterTriggerBeginQuery();
            self.capture = pg_sys::MakeTransitionCaptureState(
                (*self.result).ri_TrigDesc,
                (*self.relation).rd_id,
                pg_sys::CmdType::CMD_INSERT,
            );
            pg_sys::ExecBSInsertTriggers(self.state, self.result);
            let level = pg_sys::GetCurrentTransactionNestLevel();
            let call = Running {
                level,
                call: Call {
                    slot: self.slot,
                    terms: Terms::default(),
                },
                outcome: None,
            };
            RUNNING.with_borrow_mut(|running| memory::push(running, call));
        }
    }

    /// Whether an INSERT would do nothing for each row but stamp it, store it and add it to indexes that run no
    /// code of a user. Then rows may be stamped first and inserted together.
    pub fn is_plain(&self) -> bool {
        let ledger = &self.ledger;
        // SAFETY: the relation and its indexes are open; `InitResultRelInfo` and `ExecOpenIndices` filled the structures,
        // and the ledger's own trigger means that there is a trigger descriptor, if it is there at all.
        unsafe {
            let result = &*self.result;
            let descriptor = (*self.relation).rd_att;
            let constraints = (*descriptor).constr;
            let checks = !constraints.is_null() && (*constraints).num_check > 0;
            let runs_code = |at: usize| {
                let index = *result.ri_IndexRelationDescs.add(at);
                let info = &**result.ri_IndexRelationInfo.add(at);
                let condition = info.ii_Predicate;
                let own = (*index).rd_id == self.id_key;
                !info.ii_Expressions.is_null() || !(condition.is_null() || own)
            };
            !ledger.may_swallow()
                && !checks
                && !(*(*self.relation).rd_rel).relhassubclass
                && trigger::is_alone(result.ri_TrigDesc)
                && !(0..result.ri_NumIndices as usize).any(runs_code)
        }
    }

    /// The primary key on (context_id, sequence), if a row without id goes into no other index.
    pub(super) fn only_key(&self) -> Option<(pg_sys::Relation, *mut pg_sys::IndexInfo)> {
        // SAFETY: the arrays of the open indexes.
        self.only_key.map(|at| unsafe {
            let result = &*self.result;
            (
                *result.ri_IndexRelationDescs.add(at),
                *result.ri_IndexRelationInfo.add(at),
            )
        })
    }

    /// Inserts one entry.
    ///
    /// Errors: those of the stamp; 23505 when the id belongs to another entry.
    pub fn insert(&mut self, new: &NewEntry, terms: Terms) -> Result<Outcome, Failure> {
        // SAFETY: the slot fits the table; the datums have the columns' types and outlive the call.
        unsafe {
            self.forget_last_row();
            self.fill(new);
        }
        if self.fires {
            self.insert_fired(terms)
        } else {
            self.insert_plain(terms)
        }
    }

    /// Stamps the row in the slot and inserts it: all that an INSERT does where [`Inserter::is_plain`] holds.
    fn insert_plain(&mut self, terms: Terms) -> Result<Outcome, Failure> {
        // SAFETY: the slot holds the values that were filled in; inserting copies them, and what is assigned, into a tuple.
        unsafe {
            let mut row = NewRow::of_slot(self.slot);
            let has_id = row.bytes(entry::ID).is_some_and(|id| !id.is_empty());
            let outcome = stamp::stamp(&self.ledger, &mut row, terms, Way::AtOnce)?;
            if let Outcome::Stamped(stamp, origin) = &outcome {
                let assigned = Assigned::new(stamp, origin);
                row.assign(&assigned);
                pg_sys::ExecStoreVirtualTuple(self.slot);
                let values = (*self.slot).tts_values;
                let mut key =
                    [entry::CONTEXT_ID, entry::SEQUENCE].map(|column| *values.add(column - 1));
                pg_sys::simple_table_tuple_insert(self.relation, self.slot);
                match self.only_key().filter(|_| !has_id) {
                    Some((index, info)) => {
                        pg_sys::index_insert(
                            index,
                            key.as_mut_ptr(),
                            [false; 2].as_mut_ptr(),
                            &raw mut (*self.slot).tts_tid,
                            self.relation,
                            pg_sys::IndexUniqueCheck::UNIQUE_CHECK_YES,
                            false,
                            info,
                        );
                    }
                    None => {
                        self.insert_index_entries(self.slot);
                    }
                }
            }
            Ok(outcome)
        }
    }

    /// Inserts the row in the slot, which the trigger stamps, as the executor would.
    fn insert_fired(&mut self, terms: Terms) -> Result<Outcome, Failure> {
        RUNNING.with_borrow_mut(|running| {
            if let Some(running) = running.last_mut() {
                running.call.terms = terms;
                running.outcome = None;
            }
        });
        // SAFETY: the slot holds the values that were filled in; everything else is as `begin` left it. ExecBRInsertTriggers
        // replaces the slot's content by the stamped tuple.
        unsafe {
            pg_sys::ExecStoreVirtualTuple(self.slot);
            let goes_on = pg_sys::ExecBRInsertTriggers(self.state, self.result, self.slot);
            let outcome = RUNNING.with_borrow_mut(|running| {
                running
                    .last_mut()
                    .and_then(|running| running.outcome.take())
            });
            let outcome = match (outcome, goes_on) {
                (Some(retry @ Outcome::Retry { .. }), _) => return Ok(retry),
                (Some(conflict @ Outcome::Conflict { .. }), _) => return Ok(conflict),
                (Some(stamped @ Outcome::Stamped(..)), true) => stamped,
                // A trigger of the user swallowed the row before it was stamped, or the stamp is disabled.
                (_, false) => return Err(report::swallowed()),
                (None, true) => return Err(report::not_installed("trigger ~ledger_stamp")),
            };
            if !(*(*self.relation).rd_att).constr.is_null() {
                pg_sys::ExecConstraints(self.result, self.slot, self.state);
            }
            pg_sys::simple_table_tuple_insert(self.relation, self.slot);
            let recheck = self.insert_index_entries(self.slot);
            pg_sys::ExecARInsertTriggers(self.state, self.result, self.slot, recheck, self.capture);
            Ok(outcome)
        }
    }

    /// # Safety
    /// The slot holds a row that was inserted into the table and knows its place.
    pub(super) unsafe fn insert_index_entries(
        &mut self,
        slot: *mut pg_sys::TupleTableSlot,
    ) -> *mut pg_sys::List {
        let none = std::ptr::null_mut();
        // SAFETY: by the contract; result and state are as `open` left them.
        unsafe {
            #[cfg(feature = "pg15")]
            return pg_sys::ExecInsertIndexTuples(
                self.result,
                slot,
                self.state,
                false,
                false,
                std::ptr::null_mut(),
                none,
            );
            #[cfg(not(feature = "pg15"))]
            return pg_sys::ExecInsertIndexTuples(
                self.result,
                slot,
                self.state,
                false,
                false,
                std::ptr::null_mut(),
                none,
                false,
            );
        }
    }

    /// Frees what triggers and index expressions allocated for the row before.
    ///
    /// # Safety
    /// Nothing of an earlier row is used any more.
    pub(super) unsafe fn forget_last_row(&self) {
        // SAFETY: the context, once it exists, belongs to the state.
        unsafe {
            let context = (*self.state).es_per_tuple_exprcontext;
            if !context.is_null() {
                pg_sys::MemoryContextReset((*context).ecxt_per_tuple_memory);
            }
        }
    }

    /// Sets the values of the slot; it stays empty.
    ///
    /// # Safety
    /// The datums have the types of their columns and outlive the row.
    unsafe fn fill(&mut self, new: &NewEntry) {
        // SAFETY: the slot belongs to the table, whose columns are those of crate::ledger and possibly more.
        unsafe {
            if let Some(clear) = (*(*self.slot).tts_ops).clear {
                pg_sys::ffi::pg_guard_ffi_boundary(|| clear(self.slot));
            }
            let mut row = NewRow::of_slot(self.slot);
            row.clear();
            for (column, datum) in [
                (entry::CONTEXT_ID, new.context),
                (entry::KEY, new.key),
                (entry::ID, new.id),
                (entry::PAYLOAD, new.payload),
                (entry::METADATA, new.metadata),
            ] {
                row.set(column, datum);
            }
        }
    }

    /// Fires the AFTER triggers and closes the table.
    pub fn close(&self) {
        if self.fires {
            RUNNING.with_borrow_mut(Vec::pop);
        }
        // SAFETY: closes once what was opened. AFTER triggers may run SQL and raise.
        unsafe {
            if self.fires {
                pg_sys::ExecASInsertTriggers(self.state, self.result, self.capture);
                pg_sys::AfterTriggerEndQuery(self.state);
            }
            // Triggers and foreign keys may have opened slots and relations of their own.
            pg_sys::ExecResetTupleTable((*self.state).es_tupleTable, false);
            pg_sys::ExecCloseResultRelations(self.state);
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            pg_sys::ExecCloseIndices(self.result);
            pg_sys::table_close(self.relation, pg_sys::NoLock as pg_sys::LOCKMODE);
            pg_sys::FreeExecutorState(self.state);
        }
    }
}

/// Position of the ledger's primary key, if the only other index is the one on the ids, which has no row without one.
///
/// # Safety
/// The indexes are open.
unsafe fn only_key(open: &Open, result: &pg_sys::ResultRelInfo) -> Option<usize> {
    // SAFETY: by the contract; an index has as many attribute numbers as it says.
    unsafe {
        let index = |at: usize| (**result.ri_IndexRelationDescs.add(at)).rd_id;
        let at =
            (0..result.ri_NumIndices as usize).find(|at| index(*at) == open.key(BY_SEQUENCE))?;
        let has_no_row = |other: usize| index(other) == open.key(BY_ID);
        let others_have_no_row =
            (0..result.ri_NumIndices as usize).all(|other| other == at || has_no_row(other));
        others_have_no_row.then_some(at)
    }
}

/// Forgets the calls that an error ended: those that began at `level` or deeper.
pub fn forget_calls(level: i32) {
    RUNNING.with(|running| {
        if let Ok(mut running) = running.try_borrow_mut() {
            running.retain(|running| running.level < level);
        }
    });
}

fn check_rights(ledger: &Ledger) -> Result<(), Failure> {
    const INSERT: pg_sys::AclMode = pg_sys::ACL_INSERT as pg_sys::AclMode;
    const OK: pg_sys::AclResult::Type = pg_sys::AclResult::ACLCHECK_OK;
    // SAFETY: look-ups of catalogue rows by OID.
    unsafe {
        let user = pg_sys::GetUserId();
        if pg_sys::pg_class_aclcheck(ledger.entries.table, user, INSERT) == OK {
            return Ok(());
        }
        let columns = [
            entry::CONTEXT_ID,
            entry::KEY,
            entry::ID,
            entry::PAYLOAD,
            entry::METADATA,
        ];
        for column in columns {
            if pg_sys::pg_attribute_aclcheck(ledger.entries.table, column as i16, user, INSERT)
                != OK
            {
                return Err(report::privilege("append"));
            }
        }
    }
    Ok(())
}

/// What the table has that only the executor honours.
///
/// # Safety
/// The relation is open.
unsafe fn unserved_feature(relation: pg_sys::Relation) -> Option<&'static str> {
    // SAFETY: the relation cache entry is complete while the relation is open.
    unsafe {
        if !(*relation).rd_rules.is_null() {
            Some("a rule")
        } else if (*(*relation).rd_rel).relrowsecurity {
            Some("row security")
        } else {
            None
        }
    }
}
