//! Appends many entries to one context with one call: what a trigger call per row would do, done for chunks of rows.
//!
//! The rows are stamped here and inserted together, so nothing may stand between stamping and inserting: where the table
//! has anything but the ledger's own trigger, keys and columns, every row takes the way of [`super::direct`] instead,
//! which serves it or refuses. Both ways give the same entries.

use super::ahead::{self, Stamped, Stamper};
use super::chunk::Chunk;
use super::direct::{Inserter, NewEntry};
use super::heads::with_heads;
use super::identity;
use super::row::{utf8, Assigned, NewRow};
use super::salt;
use super::stamp::{self, Outcome, Position, Stamp, Terms};
use crate::ledger::{entry, Ledger};
use crate::memory;
use crate::report::{self, Failure};
use crate::store::scan::varlena_bytes;
use crate::store::write;
use converge_ledger_core::limits::{check_text, TextField};
use pgrx::pg_sys;

pub use super::ahead::Values;

/// New entries of one context, in order; no value is null. Those that come one for each entry are equally many.
pub struct Batch {
    pub context: pg_sys::Datum,
    pub key: Values<pg_sys::Datum>,
    pub payloads: Vec<pg_sys::Datum>,
    pub metadata: Values<pg_sys::Datum>,
}

/// What became of a batch.
pub struct Appended {
    pub first_sequence: i64,
    pub last_sequence: i64,
    pub last_lamport: i64,
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
    let appended = if inserter.is_plain() {
        if batch.payloads.is_empty() {
            None
        } else {
            append_chunks(ledger, &inserter, batch, received)?
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
            key: *batch.key.at(at),
            id: no_id,
            payload: *payload,
            metadata: *batch.metadata.at(at),
        };
        // Only the first entry can follow what was received; the others follow the first.
        let terms = Terms {
            received: received.filter(|_| at == 0),
            ..Terms::default()
        };
        if let Outcome::Stamped(stamp, _) = inserter.insert(&new, terms)? {
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

/// Stamps and inserts chunk by chunk.
fn append_chunks(
    ledger: &Ledger,
    inserter: &Inserter,
    batch: &Batch,
    received: Option<i64>,
) -> Result<Option<Appended>, Failure> {
    // SAFETY: the datums have the types of their columns and live for the call.
    let (context, payloads) = unsafe {
        let payloads = memory::collect(batch.payloads.iter().map(|it| varlena_bytes(*it)));
        (utf8(varlena_bytes(batch.context))?, payloads)
    };
    check_text(TextField::Context, context).map_err(report::bad_text)?;
    payloads
        .iter()
        .try_for_each(|it| stamp::check_payload(it))?;
    // SAFETY: as above.
    let keys = batch
        .key
        .try_map(|key| checked_key(unsafe { varlena_bytes(key) }))?;
    let metadata = batch.metadata.try_map(stamp::metadata_text)?;
    let salts = salt::many(payloads.len())?;
    identity::confirm(ledger)?;
    let (origin, position) = with_heads(|heads| {
        let head = heads.touch(ledger, context)?;
        let origin = stamp::prepare(ledger, head)?;
        Ok((origin, Position::of(head)))
    })?;
    let stamper = Stamper {
        context,
        origin: &origin,
        keys: &keys,
        payloads: &payloads,
        metadata: &metadata,
        salts: &salts,
        received,
        position,
        done: 0,
        leaves: Vec::new(),
    };
    let mut chunks = Chunks {
        inserter,
        batch,
        context: write::text(context),
        no_id: write::text(""),
        chunk: Chunk::new(),
    };
    let mut appended = None;
    ahead::for_each(stamper, |stamped| {
        with_heads(|heads| {
            let head = heads.touch(ledger, context)?;
            stamp::prepare(ledger, head)?;
            stamp::advance(head, &origin, &stamped.stamps);
            match stamped.block {
                Some(hashes) => head.keep_block(hashes),
                None => head.keep(stamped.stamps.iter().map(|stamp| stamp.leaf)),
            }
            Ok(())
        })?;
        chunks.insert(&stamped, &origin);
        if let (Some(first), Some(last)) = (stamped.stamps.first(), stamped.stamps.last()) {
            note(&mut appended, first);
            note(&mut appended, last);
        }
        Ok(())
    })?;
    chunks.end();
    Ok(appended)
}

/// Inserts chunks of a batch.
struct Chunks<'a> {
    inserter: &'a Inserter,
    batch: &'a Batch,
    context: pg_sys::Datum,
    no_id: pg_sys::Datum,
    chunk: Chunk,
}

impl Chunks<'_> {
    fn insert(&mut self, stamped: &Stamped, origin: &str) {
        let assign = |stamp| Assigned::new(stamp, origin);
        let assigned = memory::collect(stamped.stamps.iter().map(assign));
        // SAFETY: the slots belong to the table, which has the columns of crate::ledger and no others that are in
        // use; the datums have their types and live until the rows are copied into pages. An error of PostgreSQL's is
        // caught at the guard, behind which nothing has a destructor.
        unsafe {
            pg_sys::ffi::pg_guard_ffi_boundary(|| {
                for (at, assigned) in stamped.entries.clone().zip(&assigned) {
                    let mut row = NewRow::of_slot(self.chunk.slot(self.inserter));
                    row.clear();
                    let given = [
                        (entry::CONTEXT_ID, self.context),
                        (entry::KEY, *self.batch.key.at(at)),
                        (entry::ID, self.no_id),
                        (entry::PAYLOAD, self.batch.payloads[at]),
                        (entry::METADATA, *self.batch.metadata.at(at)),
                    ];
                    for (column, value) in given {
                        row.set(column, value);
                    }
                    row.assign(assigned);
                    self.chunk.add();
                }
                self.chunk.insert(self.inserter, false);
            });
            self.inserter.forget_last_row();
        }
    }

    fn end(mut self) {
        // SAFETY: made by this call and used by nobody else.
        unsafe { self.chunk.end() };
    }
}

fn checked_key(bytes: &[u8]) -> Result<&str, Failure> {
    let key = utf8(bytes)?;
    stamp::check_key(key)?;
    Ok(key)
}
