//! Keeps what cannot be accepted: one incident for each thing that is wrong, with the rows as they came.
//!
//! A branch (a fork, entries of an origin that a subscription may not deliver, …) is one incident however many entries it has:
//! its further entries are in `incident_entries`. What arrives again is recognised. Nothing is decided here.

use super::transaction;
use crate::append::heads::with_heads;
use crate::function::text;
use crate::incident::{self, call, column, now, stored, Fields, Kind, New};
use crate::ledger::{self, entry, Ledger, Quarantine, Table};
use crate::report::Failure;
use crate::store::scan::{Key, Scan, Sight};
use crate::store::write;
use converge_ledger_core::continuation::Successor;
use converge_ledger_core::hash::Hash;
use pgrx::pg_sys;

/// This far behind the first entry of a branch, content is not kept: with its digest the entry still hashes to its leaf.
const CONTENT_KEPT: i64 = 10_000;

/// Whose entries are put back when they turn out to continue their context.
const TAKEN_BACK: [Kind; 2] = [Kind::Fork, Kind::DuplicateId];

/// Columns of `converge_ledger.incident_entries`; those of the row follow the number in the order of `entries`.
mod member {
    pub const NUMBER: usize = 1;
    pub const LAMPORT: usize = 3;
}

/// An open incident.
pub struct Open {
    pub number: i64,
    /// Sequence of its row.
    pub sequence: i64,
    pub leaf: Option<Vec<u8>>,
}

/// Keeps a row; says whether the incidents of its branch must be put in order ([`tidy`]). `digest`: that of its content
/// and up to which sequence the context is judged. A branch that is judged to be another one need not keep all content.
pub fn keep(
    fields: &Fields,
    kind: Kind,
    reason: &str,
    digest: Option<(Hash, i64)>,
    source: &str,
) -> Result<bool, Failure> {
    let tables = ledger::quarantine()?;
    let context = fields.indexable(entry::CONTEXT_ID);
    let origin = fields.indexable(entry::ORIGIN);
    let sequence = fields.int8(entry::SEQUENCE);
    let leaf = fields.indexable_leaf();
    if kind.is_branch() {
        if let Some(open) = find(&tables, &context, kind, &origin) {
            let again = Some(open.sequence) == sequence && open.leaf.as_deref() == leaf;
            if !again && !is_kept(&tables, &context, &open, sequence, leaf) {
                let far = sequence.unwrap_or(0).saturating_sub(open.sequence) >= CONTENT_KEPT;
                let spare = digest.filter(|(_, judged)| far && open.sequence <= *judged);
                add(
                    &tables,
                    &context,
                    &origin,
                    &open,
                    fields,
                    spare.map(|(digest, _)| digest),
                    source,
                );
            }
            return Ok(sequence.is_some_and(|sequence| sequence < open.sequence));
        }
    } else if is_known(&tables, &context, kind, &origin, fields) {
        return Ok(false);
    }
    incident::begin(New {
        kind,
        fields,
        reason,
        evidence: serde_json::Map::new(),
        source,
    })?;
    Ok(kind.is_branch())
}

/// Keeps a row that nobody delivered, but that a peer was found to have.
pub fn keep_row(fields: &Fields, kind: Kind, reason: &str, source: &str) -> Result<(), Failure> {
    keep(fields, kind, reason, None, source).map(|_| ())
}

/// The greatest Lamport time up to `limit` of what was ever kept of a context.
pub fn greatest_lamport(context: &str, limit: i64) -> Result<Option<i64>, Failure> {
    let tables = ledger::quarantine()?;
    let mut greatest = None;
    for (table, column) in [
        (tables.incidents, column::LAMPORT),
        (tables.entries, member::LAMPORT),
    ] {
        let mut scan = Scan::by_key(table, Sight::Latest, &[Key::Text(1, context)]);
        while let Some(row) = scan.next() {
            pgrx::check_for_interrupts!();
            let lamport = row.datum(column).map(|datum| datum.value() as i64);
            greatest = greatest.max(lamport.filter(|it| (0..=limit).contains(it)));
        }
    }
    Ok(greatest)
}

/// The open incident of a branch, if there is one.
pub fn open_branch(context: &str, kind: Kind, origin: &str) -> Result<Option<Open>, Failure> {
    Ok(find(&ledger::quarantine()?, context, kind, origin))
}

fn find(tables: &Quarantine, context: &str, kind: Kind, origin: &str) -> Option<Open> {
    let keys = [
        Key::Text(1, context),
        Key::Text(2, kind.as_str()),
        Key::Text(3, origin),
    ];
    let mut scan = Scan::by_key_if_any(tables.incidents, Sight::Latest, &keys)?;
    while let Some(row) = scan.next() {
        if row.datum(column::RESOLVED_AT).is_none() {
            return Some(Open {
                number: row.int8(column::NUMBER),
                sequence: row.int8(column::SEQUENCE),
                leaf: row.bytes(column::LEAF_HASH).map(<[u8]>::to_vec),
            });
        }
    }
    None
}

/// Whether a single row is an incident already, resolved or not.
fn is_known(tables: &Quarantine, context: &str, kind: Kind, origin: &str, fields: &Fields) -> bool {
    let keys = [
        Key::Text(1, context),
        Key::Text(2, kind.as_str()),
        match fields.bytes(entry::ORIGIN) {
            Some(_) => Key::Text(3, origin),
            None => Key::Null(3),
        },
        fields
            .int8(entry::SEQUENCE)
            .map_or(Key::Null(4), |sequence| Key::Int8(4, sequence)),
        fields
            .indexable_leaf()
            .map_or(Key::Null(5), |leaf| Key::Bytes(5, leaf)),
    ];
    Scan::by_key(tables.incidents, Sight::Latest, &keys)
        .next()
        .is_some()
}

/// Whether an entry is among the further ones of an incident.
fn is_kept(
    tables: &Quarantine,
    context: &str,
    open: &Open,
    sequence: Option<i64>,
    leaf: Option<&[u8]>,
) -> bool {
    let (Some(sequence), Some(leaf)) = (sequence, leaf) else {
        return true; // a branch is of entries that have both
    };
    let keys = [
        Key::Text(1, context),
        Key::Int8(2, sequence),
        Key::Bytes(3, leaf),
    ];
    let mut scan = Scan::by_key(tables.entries, Sight::Latest, &keys);
    while let Some(row) = scan.next() {
        if row.int8(member::NUMBER) == open.number {
            return true;
        }
    }
    false
}

fn add(
    tables: &Quarantine,
    context: &str,
    origin: &str,
    open: &Open,
    fields: &Fields,
    digest: Option<Hash>,
    source: &str,
) {
    let mut row = stored(fields, context, origin).0;
    if let Some(digest) = digest {
        for column in [entry::PAYLOAD, entry::METADATA, entry::SALT] {
            row[column - 1] = None;
        }
        row[entry::CONTENT_DIGEST - 1] = Some(write::bytea(digest.as_bytes()));
    }
    let values = std::iter::once(Some(pg_sys::Datum::from(open.number)))
        .chain(row)
        .chain([Some(text(source)), Some(now())]);
    write::insert_row(tables.entries, values);
}

/// Whether entries of a context are kept aside that may yet find their places.
pub fn has_aside(context: &str) -> Result<bool, Failure> {
    let tables = ledger::quarantine()?;
    let mut kinds = TAKEN_BACK.iter();
    Ok(kinds.any(|kind| has_had(&tables, context, *kind)))
}

/// Whether an entry with this place in its context is kept aside.
pub fn is_aside(context: &str, sequence: i64) -> Result<bool, Failure> {
    let tables = ledger::quarantine()?;
    let place = [
        Key::Text(1, context),
        Key::AtLeast(2, sequence),
        Key::AtMost(2, sequence),
    ];
    if is_any(tables.entries, &place) {
        return Ok(true);
    }
    Ok(TAKEN_BACK.iter().any(|kind| {
        let keys = [Key::Text(1, context), Key::Text(2, kind.as_str())];
        let mut scan = Scan::by_key(tables.incidents, Sight::Latest, &keys);
        while let Some(row) = scan.next() {
            let is_open = row.datum(column::RESOLVED_AT).is_none();
            if is_open && row.int8(column::SEQUENCE) == sequence {
                return true;
            }
        }
        false
    }))
}

/// Whether a context has had an incident of a kind.
fn has_had(tables: &Quarantine, context: &str, kind: Kind) -> bool {
    let keys = [Key::Text(1, context), Key::Text(2, kind.as_str())];
    is_any(tables.incidents, &keys)
}

/// Whether a table that is nearly always empty has such a row.
fn is_any(table: Table, keys: &[Key]) -> bool {
    Scan::by_key_if_any(table, Sight::Latest, keys).is_some_and(|mut scan| scan.next().is_some())
}

/// Puts the forks of a context in order: one incident for each origin, with its first entry, and nothing that the context holds.
/// The caller holds the lock of the context, without which two who deliver may each begin an incident.
pub fn tidy(context: &str) -> Result<(), Failure> {
    if !has_had(&ledger::quarantine()?, context, Kind::Fork) {
        return Ok(());
    }
    call(|client| {
        let tidy = "SELECT converge_ledger.tidy_forks($1)";
        client.update(tidy, None, &[context.into()]).map(|_| ())
    })?;
    transaction::forget_forks(context);
    Ok(())
}

/// Puts entries back that were kept aside because their places were taken, or because they came before what they continue:
/// the one with `sequence`, and those of its branch that follow it, `most` together. Says whether there was one that
/// continues the context now. The caller holds the lock of the context.
pub fn take_back(
    ledger: &Ledger,
    context: &str,
    sequence: i64,
    most: u64,
) -> Result<bool, Failure> {
    if !is_aside(context, sequence)? {
        return Ok(false);
    }
    let mut candidates = Vec::new();
    call(|client| {
        let rows = client.select(
            "SELECT incident_id, lamport, origin, key, payload, contested
               FROM converge_ledger.fork_entries($1, $2)",
            None,
            &[context.into(), sequence.into()],
        )?;
        for row in rows {
            candidates.push(Candidate {
                incident: row.get(1)?.unwrap_or_default(),
                lamport: row.get(2)?.unwrap_or_default(),
                origin: row.get(3)?.unwrap_or_default(),
                key: row.get(4)?.unwrap_or_default(),
                payload: row.get(5)?.unwrap_or_default(),
                is_contested: row.get(6)?.unwrap_or(true),
            });
        }
        Ok(())
    })?;
    for candidate in candidates {
        let next = Successor {
            sequence,
            lamport: candidate.lamport,
            origin: &candidate.origin,
            key: &candidate.key,
            payload: Some(&candidate.payload),
        };
        // Where two branches are of one origin, an entry does not say which one it follows; a take-over does.
        if candidate.is_contested && !next.is_takeover() {
            continue;
        }
        let judged = with_heads(|heads| heads.touch(ledger, context)?.judge(ledger, &next))?;
        if judged.is_err() {
            continue;
        }
        transaction::forget_forks(context);
        call(|client| {
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let arguments = [candidate.incident.into(), sequence.into(), most.into()];
            let take_back = "SELECT converge_ledger.take_back($1, $2, $3)";
            client.update(take_back, None, &arguments).map(|_| ())
        })?;
        if with_heads(|heads| Ok(heads.touch(ledger, context)?.now.sequence >= sequence))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// An entry that was kept aside.
struct Candidate {
    incident: i64,
    lamport: i64,
    origin: String,
    key: String,
    payload: Vec<u8>,
    /// The place at which its branch begins is held by an entry of the same origin.
    is_contested: bool,
}
