//! Appends many entries to one context with one call: what a trigger call per row would do, done for chunks of rows.
//!
//! The rows are stamped here and inserted together, so nothing may stand between stamping and inserting: where the table
//! has anything but the ledger's own trigger, keys and columns, every row takes the way of [`super::direct`] instead,
//! which serves it or refuses. Both ways give the same entries.

use super::blocks::BLOCK;
use super::chunk::{self, Chunk};
use super::direct::{Inserter, NewEntry};
use super::head::with_heads;
use super::row::{utf8, Assigned, NewRow};
use super::stamp::{self, Given, Outcome, Stamp};
use crate::ledger::{entry, Ledger};
use crate::report::{self, Failure};
use crate::store::scan::varlena_bytes;
use crate::store::write;
use converge_ledger_core::limits::{check_text, TextField};
use pgrx::pg_sys;

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
    let mut inserter = Inserter::open_quietly(ledger)?;
    let appended = if inserter.is_plain(ledger) {
        if batch.payloads.is_empty() {
            None
        } else {
            Bulk::new(ledger, &inserter, batch)?.append(received)?
        }
    } else {
        inserter.begin();
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

/// Entries on their way in, chunk by chunk.
struct Bulk<'a> {
    ledger: &'a Ledger,
    inserter: &'a Inserter,
    batch: &'a Batch,
    context: &'a str,
    /// The key and the text of the metadata where all entries have the same.
    key: Option<&'a str>,
    metadata: Option<String>,
    chunk: Chunk,
    /// Holds what a chunk allocates.
    memory: pg_sys::MemoryContext,
}

impl<'a> Bulk<'a> {
    fn new(
        ledger: &'a Ledger,
        inserter: &'a Inserter,
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
            chunk: Chunk::new(),
            memory,
        })
    }

    fn append(mut self, received: Option<i64>) -> Result<Option<Appended>, Failure> {
        let mut appended = None;
        let mut from = 0;
        while from < self.batch.payloads.len() {
            pgrx::check_for_interrupts!();
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
                if bytes >= chunk::BYTES {
                    break;
                }
            }
            Ok(stamps)
        })
    }

    /// Inserts the entries from `from` on with their stamps.
    fn insert(&mut self, from: usize, stamps: &[Stamp]) {
        let assigned: Vec<Assigned> = stamps.iter().map(Assigned::new).collect();
        let context = write::text(self.context);
        let no_id = write::text("");
        // SAFETY: the slots belong to the table, which has the columns of crate::ledger and no others that are in
        // use; the datums have their types and live until the rows are copied into pages. An error of PostgreSQL's is
        // caught at the guard, behind which nothing has a destructor.
        unsafe {
            pg_sys::ffi::pg_guard_ffi_boundary(|| {
                for (at, assigned) in assigned.iter().enumerate() {
                    let mut row = NewRow::of_slot(self.chunk.slot(self.inserter));
                    row.clear();
                    let given = [
                        (entry::CONTEXT_ID, context),
                        (entry::KEY, self.batch.key.at(from + at)),
                        (entry::ID, no_id),
                        (entry::PAYLOAD, self.batch.payloads[from + at]),
                        (entry::METADATA, self.batch.metadata.at(from + at)),
                    ];
                    for (column, value) in given {
                        row.set(column, value);
                    }
                    row.assign(assigned);
                    self.chunk.add();
                }
                self.chunk.insert(self.inserter, false);
            });
        }
    }

    fn end(mut self) {
        // SAFETY: made by this call and used by nobody else.
        unsafe {
            self.chunk.end();
            pg_sys::MemoryContextDelete(self.memory);
        }
    }
}

fn checked_key(bytes: &[u8]) -> Result<&str, Failure> {
    let key = utf8(bytes)?;
    stamp::check_key(key)?;
    Ok(key)
}
