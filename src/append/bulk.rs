//! Appends many entries to one context with one call: what a trigger call per row would do, done for chunks of rows.
//!
//! The rows are stamped here and inserted together, so nothing may stand between stamping and inserting: where the table
//! has anything but the ledger's own trigger, keys and columns, every row takes the way of [`super::direct`] instead,
//! which serves it or refuses. Both ways give the same entries.

use super::blocks::BLOCK;
use super::direct::{Inserter, NewEntry};
use super::head::with_heads;
use super::row::{utf8, Assigned};
use super::stamp::{self, Given, Outcome, Stamp};
use super::trigger;
use crate::ledger::{self, entry, Ledger};
use crate::report::{self, Failure};
use crate::store::scan::varlena_bytes;
use crate::store::write;
use converge_ledger_core::limits::{check_text, TextField};
use pgrx::pg_sys;

/// How many bytes of payload a chunk gathers before it is inserted: the rows are copied once on the way.
const CHUNK_BYTES: usize = 256 * 1024;

/// A value for all entries of a batch, or one for each.
pub enum Column {
    Same(pg_sys::Datum),
    Each(Vec<pg_sys::Datum>),
}

/// New entries of one context, in order; no value is null. Those that come one for each entry are equally many.
pub struct Batch {
    pub context: pg_sys::Datum,
    pub key: Column,
    pub payloads: Vec<pg_sys::Datum>,
    pub metadata: Column,
}

/// What became of a batch.
pub struct Appended {
    pub first_sequence: i64,
    pub last_sequence: i64,
    pub last_lamport: i64,
}

impl Column {
    fn at(&self, index: usize) -> pg_sys::Datum {
        match self {
            Column::Same(value) => *value,
            Column::Each(values) => values[index],
        }
    }
}

/// Appends a batch as the current user; nothing is returned for no entries. The first entry follows `received`.
///
/// Errors: those of an append of one entry.
pub fn append(
    ledger: &Ledger,
    batch: &Batch,
    received: Option<i64>,
) -> Result<Option<Appended>, Failure> {
    let mut inserter = Inserter::open(ledger)?;
    let appended = if batch.payloads.is_empty() {
        None
    } else if is_plain(ledger, &inserter) {
        Bulk::new(ledger, &mut inserter, batch)?.append(received)?
    } else {
        append_each(&mut inserter, batch, received)?
    };
    inserter.close();
    Ok(appended)
}

fn append_each(
    inserter: &mut Inserter,
    batch: &Batch,
    received: Option<i64>,
) -> Result<Option<Appended>, Failure> {
    let no_id = write::text("");
    let mut appended = None;
    for (at, payload) in batch.payloads.iter().enumerate() {
        let new = NewEntry {
            context: batch.context,
            key: batch.key.at(at),
            id: no_id,
            payload: *payload,
            metadata: batch.metadata.at(at),
        };
        // Only the first entry can follow what was received; the others follow the first.
        let received = received.filter(|_| at == 0);
        if let Outcome::Stamped(stamp) = inserter.insert(&new, received)? {
            note(&mut appended, &stamp);
        }
    }
    Ok(appended)
}

fn note(appended: &mut Option<Appended>, stamp: &Stamp) {
    let first_sequence = appended
        .as_ref()
        .map_or(stamp.sequence, |appended| appended.first_sequence);
    *appended = Some(Appended {
        first_sequence,
        last_sequence: stamp.sequence,
        last_lamport: stamp.lamport,
    });
}

/// Whether an INSERT would do nothing for each row but stamp it, store it and add it to indexes that run no
/// code of a user.
fn is_plain(ledger: &Ledger, inserter: &Inserter) -> bool {
    // SAFETY: the relation and its indexes are open; `InitResultRelInfo` and `ExecOpenIndices` filled the structures,
    // and the ledger's own trigger means that there is a trigger descriptor, if it is there at all.
    unsafe {
        let result = &*inserter.result;
        let descriptor = (*inserter.relation).rd_att;
        let constraints = (*descriptor).constr;
        let checks = !constraints.is_null() && (*constraints).num_check > 0;
        // The only column that stays null.
        let digest_required = ledger::columns(descriptor)
            .nth(entry::CONTENT_DIGEST - 1)
            .is_none_or(|column| column.attnotnull);
        let runs_code = |at: usize| {
            let index = *result.ri_IndexRelationDescs.add(at);
            let info = *result.ri_IndexRelationInfo.add(at);
            (*index).rd_id != ledger.entries_id
                && !((*info).ii_Expressions.is_null() && (*info).ii_Predicate.is_null())
        };
        !ledger.may_swallow
            && !checks
            && !digest_required
            && !(*(*inserter.relation).rd_rel).relhassubclass
            && trigger::is_alone(result.ri_TrigDesc)
            && !(0..result.ri_NumIndices as usize).any(runs_code)
    }
}

/// Entries on their way in, chunk by chunk.
struct Bulk<'a> {
    ledger: &'a Ledger,
    inserter: &'a mut Inserter,
    batch: &'a Batch,
    context: &'a str,
    /// The key and the text of the metadata where all entries have the same.
    key: Option<&'a str>,
    metadata: Option<String>,
    slots: Vec<*mut pg_sys::TupleTableSlot>,
    /// Holds what a chunk allocates.
    memory: pg_sys::MemoryContext,
}

impl<'a> Bulk<'a> {
    fn new(
        ledger: &'a Ledger,
        inserter: &'a mut Inserter,
        batch: &'a Batch,
    ) -> Result<Bulk<'a>, Failure> {
        // SAFETY: the datum is a text, which lives for the call.
        let context = utf8(unsafe { varlena_bytes(batch.context) })?;
        check_text(TextField::Context, context).map_err(report::bad_text)?;
        let key = match batch.key {
            // SAFETY: as above.
            Column::Same(key) => Some(checked_key(unsafe { varlena_bytes(key) })?),
            Column::Each(_) => None,
        };
        let metadata = match batch.metadata {
            Column::Same(metadata) => Some(stamp::metadata_text(metadata)?),
            Column::Each(_) => None,
        };
        // SAFETY: a child of the current context, which outlives the call, or goes with it after an error.
        let memory = unsafe {
            pg_sys::AllocSetContextCreateInternal(
                pg_sys::CurrentMemoryContext,
                c"converge_ledger chunk".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            )
        };
        Ok(Bulk {
            ledger,
            inserter,
            batch,
            context,
            key,
            metadata,
            slots: Vec::new(),
            memory,
        })
    }

    fn append(mut self, received: Option<i64>) -> Result<Option<Appended>, Failure> {
        let mut appended = None;
        let mut from = 0;
        while from < self.batch.payloads.len() {
            pgrx::check_for_interrupts!();
            self.make_slots((self.batch.payloads.len() - from).min(BLOCK as usize));
            // SAFETY: nothing of the chunk before is used any more. After an error PostgreSQL itself sets the
            // current context.
            let call = unsafe {
                pg_sys::MemoryContextReset(self.memory);
                pg_sys::MemoryContextSwitchTo(self.memory)
            };
            let stamps = self.stamp(from, received.filter(|_| from == 0))?;
            self.insert(from, &stamps);
            // SAFETY: the context that was current before.
            unsafe { pg_sys::MemoryContextSwitchTo(call) };
            if let (Some(first), Some(last)) = (stamps.first(), stamps.last()) {
                note(&mut appended, first);
                note(&mut appended, last);
            }
            from += stamps.len();
        }
        self.end();
        Ok(appended)
    }

    /// Stamps entries up to the end of a block, of the batch, or of what a chunk may hold.
    fn stamp(&mut self, from: usize, received: Option<i64>) -> Result<Vec<Stamp>, Failure> {
        let now = stamp::clock()?;
        with_heads(|heads| {
            let head = heads.touch(self.ledger, self.context)?;
            let origin = stamp::prepare(self.ledger, head)?;
            let room = (BLOCK - head.now.sequence % BLOCK) as usize;
            let mut stamps = Vec::with_capacity(room.min(self.batch.payloads.len() - from));
            let mut bytes = 0;
            for at in from..self.batch.payloads.len().min(from + room) {
                // SAFETY: a bytea of an array that lives for the call.
                let payload = unsafe { varlena_bytes(self.batch.payloads[at]) };
                stamp::check_payload(payload)?;
                let key = match self.key {
                    Some(key) => key,
                    // SAFETY: a text of an array that lives for the call.
                    None => checked_key(unsafe { varlena_bytes(self.batch.key.at(at)) })?,
                };
                let own_metadata;
                let metadata = match &self.metadata {
                    Some(metadata) => metadata,
                    None => {
                        own_metadata = stamp::metadata_text(self.batch.metadata.at(at))?;
                        &own_metadata
                    }
                };
                let given = Given {
                    key,
                    id: "",
                    payload,
                    metadata,
                };
                let received = received.filter(|_| at == from);
                let stamp = stamp::next(head, origin.clone(), &given, received, now)?;
                head.keep(stamp.leaf);
                stamps.push(stamp);
                bytes += payload.len();
                if bytes >= CHUNK_BYTES {
                    break;
                }
            }
            Ok(stamps)
        })
    }

    fn make_slots(&mut self, count: usize) {
        while self.slots.len() < count {
            // SAFETY: the relation is open; a slot lives in the call's memory context until `end`.
            let slot =
                unsafe { pg_sys::table_slot_create(self.inserter.relation, std::ptr::null_mut()) };
            self.slots.push(slot);
        }
    }

    /// Inserts the entries from `from` on with their stamps.
    fn insert(&mut self, from: usize, stamps: &[Stamp]) {
        let assigned: Vec<Assigned> = stamps.iter().map(Assigned::new).collect();
        let context = write::text(self.context);
        let no_id = write::text("");
        // SAFETY: the slots belong to the table, which has the columns of crate::ledger and no others that are in
        // use; the datums have their types and live until the rows are copied into pages. The rows are inserted
        // by the table's access method as COPY would, then added to all indexes from their slots.
        unsafe {
            let columns = (*(*self.inserter.relation).rd_att).natts as usize;
            for (at, (slot, assigned)) in self.slots.iter().zip(&assigned).enumerate() {
                let values = std::slice::from_raw_parts_mut((**slot).tts_values, columns);
                let nulls = std::slice::from_raw_parts_mut((**slot).tts_isnull, columns);
                nulls.fill(true);
                let given = [
                    (entry::CONTEXT_ID, context),
                    (entry::KEY, self.batch.key.at(from + at)),
                    (entry::ID, no_id),
                    (entry::PAYLOAD, self.batch.payloads[from + at]),
                    (entry::METADATA, self.batch.metadata.at(from + at)),
                ];
                for (column, value) in given.into_iter().chain(assigned.datums()) {
                    values[column - 1] = value;
                    nulls[column - 1] = false;
                }
                pg_sys::ExecStoreVirtualTuple(*slot);
            }
            let used = self.slots.as_mut_ptr();
            let count = stamps.len() as i32;
            let relation = self.inserter.relation;
            let command = (*self.inserter.state).es_output_cid;
            if let Some(multi_insert) = (*(*relation).rd_tableam).multi_insert {
                pg_sys::ffi::pg_guard_ffi_boundary(|| {
                    multi_insert(relation, used, count, command, 0, std::ptr::null_mut());
                });
            }
            for slot in &self.slots[..stamps.len()] {
                // No constraint is deferrable, or there would be a trigger: nothing to check again.
                self.inserter.insert_index_entries(*slot);
            }
            pg_sys::ffi::pg_guard_ffi_boundary(|| {
                for slot in &self.slots[..stamps.len()] {
                    if let Some(clear) = (*(**slot).tts_ops).clear {
                        clear(*slot);
                    }
                }
            });
            self.inserter.forget_last_row();
        }
    }

    fn end(self) {
        // SAFETY: made by this call and used by nobody else.
        unsafe {
            for slot in &self.slots {
                pg_sys::ExecDropSingleTupleTableSlot(*slot);
            }
            pg_sys::MemoryContextDelete(self.memory);
        }
    }
}

fn checked_key(bytes: &[u8]) -> Result<&str, Failure> {
    let key = utf8(bytes)?;
    stamp::check_key(key)?;
    Ok(key)
}
