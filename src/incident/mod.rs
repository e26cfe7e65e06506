//! Incidents: what was found and could not simply be put right, one row each in `converge_ledger.incidents`, with the row of the entry
//! as it was. Whoever begins one is heard in the server's log and on the channel `ledger_incidents`.
//!
//! What is an incident, and what follows from it, is decided by who begins it: [`crate::receive`] for what arrives,
//! the scrub and the reconciler for what is found in place.

mod fields;

pub use fields::Fields;

use crate::announce;
use crate::function::text;
use crate::ledger::{self, entry, Quarantine};
use crate::memory;
use crate::report::{self, Failure};
use crate::sql;
use crate::store::scan::{Key, Scan, Sight};
use crate::store::write;
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use serde_json::{Map, Value};
use std::cell::RefCell;

/// Where incidents are told of. The payload is the number of one.
const CHANNEL: &str = "ledger_incidents";

/// Of so many incidents at most a transaction tells. Who hears of one looks at all.
const MOST_TOLD: usize = 100;

/// What is wrong, as `incidents.kind` has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A row that arrived is no entry of format 1, or does not hash to its leaf.
    Damaged,
    /// It belongs to another history of the context.
    Fork,
    /// Its Lamport time does not follow, or its take-over does not say what it must.
    Discontinuity,
    /// An entry of this node's own origin that it does not have.
    Rollback,
    /// Another entry of the context has its id.
    DuplicateId,
    /// The subscription may not deliver its origin.
    Unpinned,
    /// A peer tried to change or delete an entry.
    Change,
    /// An entry of this database does not hash to its leaf, cannot be read, or is missing.
    Corruption,
    /// An entry of a peer is damaged there.
    DamagedPeer,
    /// What a peer answers cannot all be true.
    Contradiction,
    /// A peer does not state a context any more that it has stated before.
    NotStated,
    /// A peer shows entries of this node in more contexts than it can halt one by one: all appends are refused.
    PeerAlarm,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Damaged => "damaged",
            Kind::Fork => "fork",
            Kind::Discontinuity => "discontinuity",
            Kind::Rollback => "rollback",
            Kind::DuplicateId => "duplicate id",
            Kind::Unpinned => "unpinned",
            Kind::Change => "change",
            Kind::Corruption => "corruption",
            Kind::DamagedPeer => "damaged peer",
            Kind::Contradiction => "contradiction",
            Kind::NotStated => "not stated",
            Kind::PeerAlarm => "peer alarm",
        }
    }

    /// Whether all entries of one origin are one incident.
    pub fn is_branch(self) -> bool {
        matches!(self, Kind::Fork | Kind::Rollback | Kind::Unpinned)
    }
}

/// Columns of `converge_ledger.incidents`.
pub mod column {
    pub const NUMBER: usize = 1;
    pub const SOURCE: usize = 4;
    pub const KIND: usize = 3;
    pub const CONTEXT_ID: usize = 5;
    pub const SEQUENCE: usize = 6;
    pub const LAMPORT: usize = 7;
    pub const LEAF_HASH: usize = 16;
    pub const EVIDENCE: usize = 18;
    pub const RESOLVED_AT: usize = 19;
    pub const RESOLUTION: usize = 20;

    /// Where a column of `entries` is kept.
    pub fn of_entry(column: usize) -> usize {
        use crate::ledger::entry;
        match column {
            entry::CONTEXT_ID => 5,
            before if before < entry::CONTEXT_ID => before + 5,
            behind => behind + 4,
        }
    }
}

/// An incident that begins.
pub struct New<'a> {
    pub kind: Kind,
    /// Of the row; at least its context.
    pub fields: &'a Fields,
    /// What was found, to follow a colon.
    pub reason: &'a str,
    /// What else is known, beside the reason.
    pub evidence: Map<String, Value>,
    /// Subscription or peer that it came from, empty for none.
    pub source: &'a str,
}

/// Begins an incident, and tells of it; returns its number. Whether there is one of the same thing already is for the
/// caller to look.
pub fn begin(new: New) -> Result<i64, Failure> {
    let context = new.fields.indexable(entry::CONTEXT_ID);
    let origin = new.fields.indexable(entry::ORIGIN);
    let sequence = new.fields.int8(entry::SEQUENCE);
    let New {
        kind,
        reason,
        source,
        ..
    } = new;
    let last = new.evidence.get("last").and_then(Value::as_i64);
    let is_missing = new.evidence.contains_key("missing");
    let number = write_down(new)?;
    let subject = report::Subject {
        kind,
        context: &context,
        origin: &origin,
        first: sequence,
        last,
        is_missing,
    };
    report::incident(number, &subject, reason, source).warn();
    tell(number);
    Ok(number)
}

/// As [`begin`], and tells nobody: who did it knows.
pub fn write_down(new: New) -> Result<i64, Failure> {
    let tables = ledger::quarantine()?;
    let context = new.fields.indexable(entry::CONTEXT_ID);
    let origin = new.fields.indexable(entry::ORIGIN);
    // Until the row is there, which the others see before it is committed. If PostgreSQL raises, the lock ends with the (sub)transaction.
    // SAFETY: an existing sequence.
    unsafe {
        pg_sys::LockDatabaseObject(pg_sys::RelationRelationId, tables.numbers, DRAWN, ALONE);
    }
    let number = next_number(&tables);
    let row = stored(new.fields, &context, &origin).0;
    let column = |column: usize| row[column - 1];
    let mut evidence = new.evidence;
    evidence.insert("reason".to_owned(), new.reason.into());
    let values = [
        Some(pg_sys::Datum::from(number)),
        Some(now()),
        Some(text(new.kind.as_str())),
        Some(text(new.source)),
        column(entry::CONTEXT_ID),
        column(entry::SEQUENCE),
        column(entry::LAMPORT),
        column(entry::APPENDED_AT),
        column(entry::FORMAT),
        column(entry::ORIGIN),
        column(entry::KEY),
        column(entry::ID),
        column(entry::PAYLOAD),
        column(entry::METADATA),
        column(entry::SALT),
        column(entry::LEAF_HASH),
        column(entry::CONTENT_DIGEST),
        Some(jsonb(&Value::Object(evidence))?),
        None,
        None,
    ];
    write::insert_row(tables.incidents, values.into_iter());
    // SAFETY: the lock that was taken above.
    unsafe {
        pg_sys::UnlockDatabaseObject(pg_sys::RelationRelationId, tables.numbers, DRAWN, ALONE);
    }
    Ok(number)
}

/// Resolves an incident, unless it is resolved already. `resolution` is one phrase.
///
/// Errors: XX000 if it is open afterwards.
pub fn resolve(number: i64, resolution: &str) -> Result<(), Failure> {
    let is_open = sql::call(|client| {
        let resolve = "UPDATE converge_ledger.incidents
                          SET resolved_at = pg_catalog.clock_timestamp(), resolution = $2
                        WHERE incident_id = $1 AND resolved_at IS NULL";
        client.update(resolve, None, &[number.into(), resolution.into()])?;
        let look = "SELECT 1 FROM converge_ledger.incidents WHERE incident_id = $1 AND resolved_at IS NULL";
        // As an update, so that it sees what was done.
        Ok(!client.update(look, None, &[number.into()])?.is_empty())
    })?;
    match is_open {
        true => Err(report::not_recorded(number)),
        false => Ok(()),
    }
}

/// Runs an UPDATE that records something of an incident, and returns whether it is recorded.
///
/// Errors: XX000 unless that is so of exactly one row: somebody's trigger may suppress it.
pub fn record(number: i64, update: &str, arguments: &[DatumWithOid]) -> Result<(), Failure> {
    let recorded = sql::call(|client| {
        let mut recorded = 0;
        for row in client.update(update, None, arguments)? {
            recorded += usize::from(row.get(1)?.unwrap_or(false));
        }
        Ok(recorded)
    })?;
    match recorded {
        1 => Ok(()),
        _ => Err(report::not_recorded(number)),
    }
}

/// The row's own columns with a context, an origin and a leaf hash that the indexes can hold.
pub fn stored(fields: &Fields, context: &str, origin: &str) -> Fields {
    let mut stored = *fields;
    stored.0[entry::CONTEXT_ID - 1] = Some(write::text(context));
    if stored.0[entry::ORIGIN - 1].is_some() {
        stored.0[entry::ORIGIN - 1] = Some(write::text(origin));
    }
    stored.0[entry::LEAF_HASH - 1] = fields.indexable_leaf().map(write::bytea);
    stored
}

pub fn now() -> pg_sys::Datum {
    // SAFETY: reads the clock.
    unsafe { pg_sys::Datum::from(pg_sys::GetCurrentTimestamp()) }
}

/// A number that no incident has. The sequence may have been restarted: numbers that are taken are passed over, all in one step. The caller is
/// the only one who draws one, until its row is there.
fn next_number(tables: &Quarantine) -> i64 {
    let number = next_of_sequence(tables);
    if !is_taken(tables, number) {
        return number;
    }
    let greatest = greatest_number(tables);
    // SAFETY: as in `next_of_sequence`.
    unsafe {
        pg_sys::DirectFunctionCall2Coll(
            Some(setval_oid),
            pg_sys::InvalidOid,
            pg_sys::Datum::from(tables.numbers),
            pg_sys::Datum::from(greatest),
        );
    }
    next_of_sequence(tables)
}

/// The key of the incidents on their number.
const BY_NUMBER: usize = 1;

/// Stands for the numbers that are drawn but not yet in a row, among the parts of the sequence that can be locked.
const DRAWN: u16 = 1;
const ALONE: pg_sys::LOCKMODE = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;

fn is_taken(tables: &Quarantine, number: i64) -> bool {
    let keys = [Key::Int8(1, number)];
    Scan::open(tables.incidents, BY_NUMBER, Sight::Dirty, &keys).advance()
}

/// The greatest number that an incident has or is about to have, 0 if there is none.
fn greatest_number(tables: &Quarantine) -> i64 {
    let mut scan = Scan::open(tables.incidents, BY_NUMBER, Sight::Dirty, &[]);
    match scan.retreat() {
        true => scan.row().int8(column::NUMBER),
        false => 0,
    }
}

fn next_of_sequence(tables: &Quarantine) -> i64 {
    // SAFETY: an existing sequence of type bigint; the function checks rights that the role needs to have, and
    // raises with nothing to undo.
    unsafe {
        pg_sys::DirectFunctionCall1Coll(
            Some(nextval_oid),
            pg_sys::InvalidOid,
            pg_sys::Datum::from(tables.numbers),
        )
        .value() as i64
    }
}

extern "C-unwind" {
    /// src/backend/commands/sequence.c and src/backend/utils/adt/jsonb.c; the bindings' wrappers cannot be passed on.
    fn nextval_oid(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
    fn setval_oid(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
    fn jsonb_in(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
}

fn jsonb(value: &Value) -> Result<pg_sys::Datum, Failure> {
    let json = memory::c_string(value.to_string().as_bytes());
    // SAFETY: a C string that lives over the call, which copies it.
    Ok(unsafe {
        pg_sys::DirectFunctionCall1Coll(
            Some(jsonb_in),
            pg_sys::InvalidOid,
            pg_sys::Datum::from(json.as_ptr()),
        )
    })
}

thread_local! {
    /// Incidents of this transaction, to be told of at its commit: who applies what a peer prepares must not notify
    /// before.
    static UNTOLD: RefCell<Vec<i64>> = const { RefCell::new(Vec::new()) };
}

fn tell(number: i64) {
    UNTOLD.with_borrow_mut(|untold| {
        if untold.len() < MOST_TOLD {
            memory::push(untold, number);
        }
    });
}

/// Tells of the incidents of a transaction that is about to commit. Of one that is prepared only the log tells.
pub fn at_commit() {
    let untold = UNTOLD.with_borrow_mut(std::mem::take);
    for number in untold {
        announce::send(CHANNEL.to_owned(), number.to_string());
    }
}

/// Ends the transaction.
pub fn end() {
    UNTOLD.with(|untold| {
        if let Ok(mut untold) = untold.try_borrow_mut() {
            untold.clear();
        }
    });
}
