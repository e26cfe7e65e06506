//! Makes an entry of a row: assigns sequence, Lamport time, time, origin, salt and leaf hash.

use super::head::{Head, Mark, ReadsTable, Way};
use super::heads::{with_heads, Heads};
use super::row::NewRow;
use super::{alarm, blocks, identity, resolve, salt, takeover};
use crate::jsonb;
use crate::ledger::{entry, Ledger};
use crate::report::{self, Failure};
use crate::store::scan::Sight;
use crate::store::{contexts, entries, write};
use converge_ledger_core::control::{ControlKey, CONTROL_PREFIX};
use converge_ledger_core::entry::{Content, Entry};
use converge_ledger_core::hash::Hash;
use converge_ledger_core::lamport::{LamportError, LamportTime};
use converge_ledger_core::limits::{
    check_text, TextField, MAX_METADATA_BYTES, MAX_NUMBER, SALT_BYTES,
};
use pgrx::pg_sys;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

/// An entry repeats the time of the one before it unless that lies further ahead of the clock than this.
const CLOCK_TOLERANCE_MICROSECONDS: i64 = 5 * 60 * 1_000_000;

/// What became of a row.
pub enum Outcome {
    /// It becomes an entry of this origin.
    Stamped(Stamp, Rc<str>),
    /// An entry with this id, key and payload exists already: the row is a retry and is dropped.
    Retry { sequence: i64 },
    /// An entry with this id but another content exists: the unique index will refuse the row.
    Conflict { sequence: i64 },
}

/// What the caller of an append function states beside the row; nothing, where no function is called.
#[derive(Clone, Copy, Default)]
pub struct Terms {
    /// Lamport time from elsewhere to go beyond.
    pub received: Option<i64>,
    /// Which control entry the row is to become; none for those of applications.
    pub control: Option<ControlKey>,
}

/// What an application gives of an entry, checked.
pub struct Given<'a> {
    pub key: &'a str,
    pub id: &'a str,
    pub payload: &'a [u8],
    /// As it is hashed.
    pub metadata: &'a str,
}

/// What the ledger assigns to an entry, beside its origin.
#[derive(Clone, Copy)]
pub struct Stamp {
    pub sequence: i64,
    pub lamport: i64,
    /// Microseconds since 1970.
    pub appended_at: i64,
    pub salt: [u8; SALT_BYTES],
    pub leaf: Hash,
}

/// What the next stamp of a context builds on.
#[derive(Clone, Copy)]
pub struct Position {
    pub sequence: i64,
    pub lamport: i64,
    pub appended_at: Option<i64>,
}

/// Stamps a row that has no leaf hash.
///
/// The row is an entry only once what [`Outcome::Stamped`] holds is set in it.
pub fn stamp(
    ledger: &Ledger,
    row: &mut NewRow,
    terms: Terms,
    way: Way,
) -> Result<Outcome, Failure> {
    refuse_assigned(row)?;
    fill_defaults(row);
    let required = |column, name| row.text(column)?.ok_or_else(|| report::null_column(name));
    let context = required(entry::CONTEXT_ID, "context_id")?;
    let key = required(entry::KEY, "key")?;
    let id = row.text(entry::ID)?.unwrap_or_default();
    check_text(TextField::Context, context).map_err(report::bad_text)?;
    match terms.control {
        None => check_key(key)?,
        Some(control) => check_control_key(key, control)?,
    }
    check_text(TextField::Id, id).map_err(report::bad_text)?;
    let payload = row
        .bytes(entry::PAYLOAD)
        .ok_or_else(|| report::null_column("payload"))?;
    if terms.control.is_none() {
        check_payload(payload)?;
    }
    let metadata = row
        .datum(entry::METADATA)
        .ok_or_else(|| report::null_column("metadata"))?;
    let metadata = metadata_text(metadata)?;
    let given = Given {
        key,
        id,
        payload,
        metadata: &metadata,
    };

    identity::confirm(ledger)?;
    let outcome = with_heads(|heads: &mut Heads| {
        let head = heads.touch(ledger, context)?;
        if !id.is_empty() {
            if let Some(earlier) = find_id(ledger, context, id, key, payload) {
                return Ok(earlier);
            }
        }
        let origin = match terms.control {
            Some(ControlKey::Takeover) => takeover::prepare(ledger, head, payload)?,
            Some(ControlKey::Resolve) => resolve::prepare(ledger, head, payload)?,
            _ => prepare(ledger, head)?,
        };
        let now = clock()?;
        let stamp = Position::of(head).stamp_next(
            context,
            &origin,
            &given,
            salt::next()?,
            terms.received,
            now,
        )?;
        let next = next_mark(head, &origin, &stamp, stamp.sequence);
        head.advance(next, stamp.leaf, way);
        Ok(Outcome::Stamped(stamp, origin))
    })?;
    if let Outcome::Conflict { .. } = outcome {
        fill_for_conflict(row);
    }
    Ok(outcome)
}

/// Readies a context for its next entry; gives the name to append it under.
pub fn prepare(ledger: &Ledger, head: &mut Head) -> Result<Rc<str>, Failure> {
    let origin = owner(ledger, head)?;
    alarm::refuse(ledger, head)?;
    if head.now.beyond.is_some() {
        head.close_gap(ledger)?;
        // What closed it may have passed the context on.
        owner(ledger, head)?;
    }
    store_derived(ledger, head)?;
    Ok(origin)
}

/// Stores what is certain about a context now that another entry follows.
pub fn store_derived(ledger: &Ledger, head: &mut Head) -> Result<(), Failure> {
    if head.owes() {
        blocks::fill_owed(ledger, head)?;
    }
    if head.now.sequence == 0 {
        contexts::register(ledger, &head.context);
    } else if head.now.sequence % blocks::BLOCK == 0 {
        blocks::fill(ledger, head)?;
    }
    Ok(())
}

impl Position {
    pub fn of(head: &Head) -> Position {
        Position {
            sequence: head.now.sequence,
            lamport: head.now.lamport,
            appended_at: head.now.appended_at,
        }
    }

    /// The stamp of the next entry; moves on to it. `now` is the clock in microseconds since 1970.
    ///
    /// Calls nothing of PostgreSQL.
    pub fn stamp_next(
        &mut self,
        context: &str,
        origin: &str,
        given: &Given,
        salt: [u8; SALT_BYTES],
        received: Option<i64>,
        now: i64,
    ) -> Result<Stamp, Failure> {
        if self.sequence >= MAX_NUMBER {
            return Err(report::context_full(context));
        }
        let sequence = self.sequence + 1;
        let lamport = self
            .tick(received, now)
            .map_err(|error| report::lamport(context, error))?;
        let appended_at = time(self.appended_at, now);
        let leaf = Entry {
            context,
            sequence,
            lamport,
            origin,
            appended_at,
            key: given.key,
            id: given.id,
            content: Content::Whole {
                payload: given.payload,
                metadata: given.metadata,
                salt: &salt,
            },
        }
        .leaf_hash();
        *self = Position {
            sequence,
            lamport,
            appended_at: Some(appended_at),
        };
        Ok(Stamp {
            sequence,
            lamport,
            appended_at,
            salt,
            leaf,
        })
    }

    fn tick(&self, received: Option<i64>, now: i64) -> Result<i64, LamportError> {
        let previous = match self.sequence {
            0 => None,
            _ => Some(LamportTime::new(self.lamport)?),
        };
        let next = match received {
            None => LamportTime::tick(previous),
            Some(received) => LamportTime::observe(previous, received, now),
        };
        next.map(LamportTime::get)
    }
}

/// Moves a head on over stamps that follow each other from it, of rows that are inserted at once.
pub fn advance(head: &mut Head, origin: &Rc<str>, stamps: &[Stamp]) {
    let (Some(first), Some(last)) = (stamps.first(), stamps.last()) else {
        return;
    };
    let next = next_mark(head, origin, last, first.sequence);
    head.advance_over(next);
}

/// What follows when the stamps up to `last` were given, of which the first has the sequence `first`.
fn next_mark(head: &Head, origin: &Rc<str>, last: &Stamp, first: i64) -> Mark {
    Mark {
        sequence: last.sequence,
        lamport: last.lamport,
        appended_at: Some(last.appended_at),
        owner: Some(origin.clone()),
        first: head.now.first.or(Some(first)),
        beyond: None,
        opened_gap: false,
        noted: head.now.noted,
        may_append: head.now.may_append,
        version: head.now.version,
    }
}

/// Whether an application may give this key.
pub fn check_key(key: &str) -> Result<(), Failure> {
    check_text(TextField::Key, key).map_err(report::bad_text)?;
    if key.starts_with(CONTROL_PREFIX) {
        return Err(report::reserved_key(key));
    }
    Ok(())
}

/// Refuses a control entry that a trigger made another one.
fn check_control_key(key: &str, control: ControlKey) -> Result<(), Failure> {
    if ControlKey::from_key(key) == Some(control) {
        return Ok(());
    }
    Err(report::changed_control_entry(
        control.as_str(),
        "its key is another",
    ))
}

pub fn check_payload(payload: &[u8]) -> Result<(), Failure> {
    let limit = crate::settings::max_payload_size();
    if payload.len() > limit {
        return Err(report::payload_too_large(Some(payload.len()), limit));
    }
    Ok(())
}

/// A row without a leaf hash must not claim anything that the ledger assigns.
fn refuse_assigned(row: &NewRow) -> Result<(), Failure> {
    let assigned = [
        (entry::SEQUENCE, "sequence"),
        (entry::LAMPORT, "lamport"),
        (entry::APPENDED_AT, "appended_at"),
        (entry::ORIGIN, "origin"),
        (entry::SALT, "salt"),
        (entry::CONTENT_DIGEST, "content_digest"),
    ];
    for (column, name) in assigned {
        if row.datum(column).is_some() {
            return Err(report::assigned_column(name));
        }
    }
    match row.int2(entry::FORMAT) {
        None | Some(1) => Ok(()),
        Some(_) => Err(report::assigned_column("format")),
    }
}

/// Null stands for the default of metadata and id: drivers and object mappers send nulls for what was not given.
fn fill_defaults(row: &mut NewRow) {
    if row.datum(entry::METADATA).is_none() {
        row.set(entry::METADATA, jsonb::empty_object());
    }
    if row.datum(entry::ID).is_none() {
        row.set(entry::ID, write::text(""));
    }
}

/// The text of metadata, as it is hashed.
pub fn metadata_text(metadata: pg_sys::Datum) -> Result<String, Failure> {
    // SAFETY: the column has type jsonb.
    let metadata = unsafe { jsonb::Jsonb::from_datum(metadata) };
    if !metadata.is_object() {
        return Err(report::metadata_not_object());
    }
    metadata
        .print(MAX_METADATA_BYTES)
        .ok_or_else(report::metadata_too_long)
}

/// What is known of an id that was given before. The context is locked: nobody else can add one now.
fn find_id(ledger: &Ledger, context: &str, id: &str, key: &str, payload: &[u8]) -> Option<Outcome> {
    entries::with_id(ledger, context, id, Sight::Latest, |row| {
        let sequence = row.int8(entry::SEQUENCE);
        if row.text(entry::KEY) == key && row.bytes(entry::PAYLOAD) == Some(payload) {
            Outcome::Retry { sequence }
        } else {
            Outcome::Conflict { sequence }
        }
    })
}

/// The name of this node, if it owns the context.
fn owner(ledger: &Ledger, head: &Head) -> Result<Rc<str>, Failure> {
    let node = identity::name(ledger)?;
    match &head.now.owner {
        Some(owner) if **owner != *node => Err(report::not_owner(&head.context, owner, &node)),
        _ => Ok(node),
    }
}

/// Microseconds since 1970.
pub fn clock() -> Result<i64, Failure> {
    let microseconds = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(error) => {
            i64::try_from(error.duration().as_micros()).map_or(i64::MIN, |before| -before)
        }
    };
    if (0..=MAX_NUMBER).contains(&microseconds) {
        Ok(microseconds)
    } else {
        Err(report::clock_out_of_range(microseconds))
    }
}

fn time(previous: Option<i64>, now: i64) -> i64 {
    match previous {
        Some(previous) if previous > now && previous - now < CLOCK_TOLERANCE_MICROSECONDS => {
            previous
        }
        _ => now,
    }
}

/// Values that satisfy NOT NULL, for a row that the unique index on the id will refuse: by an error that names the
/// constraint, or silently where the statement says ON CONFLICT DO NOTHING. It never becomes an entry.
fn fill_for_conflict(row: &mut NewRow) {
    use write::{bytea, text};
    row.set(entry::SEQUENCE, pg_sys::Datum::from(0_i64));
    row.set(entry::LAMPORT, pg_sys::Datum::from(0_i64));
    row.set(entry::APPENDED_AT, pg_sys::Datum::from(0_i64));
    row.set(entry::FORMAT, pg_sys::Datum::from(1_i16));
    row.set(entry::ORIGIN, text(""));
    row.set(entry::LEAF_HASH, bytea(&[]));
}
