//! `ledger_resolve`: carries out what an administrator decides about an incident, in his transaction, under the lock of the
//! context.
//!
//! *Mine* is what this node holds, *theirs* what the incident is about. Nothing is deleted: what loses is kept in the incidents,
//! and recognised when it comes again. Nothing is decided here, and no peer is asked. docs/design/resolve.md.

mod fork;
pub mod halted;
mod peer;
pub mod peer_alarm;
mod rollback;

use crate::append::heads::with_heads;
use crate::append::identity;
use crate::incident::{self, Kind};
use crate::ledger::Ledger;
use crate::receive;
use crate::report::{self, Failure};
use crate::sql;
use crate::store::{scrubbed, stated};
use converge_ledger_core::digest::NameHash;
use converge_ledger_core::hash::Hash;
use converge_ledger_core::limits::MAX_NUMBER;
pub use peer::{resolve_all, Outcome};
use pgrx::pg_sys;

/// What an administrator says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    KeepMine,
    KeepTheirs,
}

impl Decision {
    pub fn from_name(name: &str) -> Option<Decision> {
        [Decision::KeepMine, Decision::KeepTheirs]
            .into_iter()
            .find(|decision| decision.as_str() == name)
    }

    fn as_str(self) -> &'static str {
        match self {
            Decision::KeepMine => "keep_mine",
            Decision::KeepTheirs => "keep_theirs",
        }
    }
}

/// An incident as it stands.
struct Case {
    number: i64,
    context: String,
    kind: String,
    origin: String,
    /// Sequence of its first entry.
    first: i64,
    /// That of the last entry that is kept, 0 if none is.
    last: i64,
    leaf: Option<Hash>,
    lamport: i64,
    key: String,
    payload: Option<Vec<u8>>,
    /// How many entries the peer had, if it told.
    size: i64,
    /// Subscription or peer that it came from, empty for none.
    source: String,
    /// When and how it was resolved.
    resolved: Option<(String, String)>,
}

/// Decides an incident; returns what was done, one sentence.
///
/// Errors: 42704 for a number that no incident has; 55000 when it is resolved already, or cannot be decided so yet; 0A000
/// where there is no such decision, and in a transaction with a fixed snapshot.
pub fn resolve(
    ledger: &Ledger,
    number: i64,
    decision: Decision,
    reason: &str,
) -> Result<String, Failure> {
    check_snapshot()?;
    let context = find(number)?.context;
    hold(ledger, &context)?;
    if let Some((at, how)) = find(number)?.resolved {
        return Err(report::already_resolved(number, &at, &how));
    }
    // What has arrived is judged first: then it is known what mine is, and the incident may have come to an end by itself.
    receive::as_replica(|| receive::settle_resolved(ledger, &context))?;
    let case = find(number)?;
    if let Some((at, how)) = &case.resolved {
        return Err(report::already_resolved(number, at, how));
    }
    let kind = |kind: Kind| case.kind == kind.as_str();
    match decision {
        Decision::KeepMine if kind(Kind::Fork) => fork::keep_mine(ledger, &case, reason),
        Decision::KeepTheirs if kind(Kind::Fork) => fork::keep_theirs(ledger, &case, reason),
        Decision::KeepMine if kind(Kind::Rollback) => rollback::keep_mine(ledger, &case, reason),
        Decision::KeepTheirs if kind(Kind::Rollback) => {
            rollback::keep_theirs(ledger, &case, reason)
        }
        Decision::KeepMine if kind(Kind::PeerAlarm) => peer_alarm::keep_mine(ledger, &case, reason),
        Decision::KeepTheirs if kind(Kind::PeerAlarm) => {
            peer_alarm::keep_theirs(ledger, &case, reason)
        }
        Decision::KeepTheirs if kind(Kind::Unpinned) => place(ledger, &case, reason),
        Decision::KeepTheirs if kind(Kind::Corruption) => {
            note(number, decision)?;
            Ok(format!(
                "entry {} is put back from a peer as soon as one has it, whatever the others say",
                case.first
            ))
        }
        Decision::KeepTheirs => Err(report::no_such_decision(&case.kind)),
        Decision::KeepMine => {
            close(number, decision, reason)?;
            if kind(Kind::NotStated) {
                stated::forget(ledger, &case.source, NameHash::of(&case.context));
                return Ok(String::from(
                    "the peer is not expected to state the context any more, until it does so again",
                ));
            }
            Ok(match kind(Kind::Corruption) {
                true => {
                    // That entries at the end are missing is known by what the scrub has read.
                    if case.first > size(ledger, &case.context)? {
                        scrubbed::forget(ledger, &case.context);
                    }
                    format!("entry {} is accepted as it stands", case.first)
                }
                false => String::from("nothing is changed, and the incident is closed"),
            })
        }
    }
}

/// Errors: 0A000 in a transaction with a fixed snapshot.
fn check_snapshot() -> Result<(), Failure> {
    // SAFETY: reads a global of this backend.
    match unsafe { pg_sys::XactIsoLevel } >= pg_sys::XACT_REPEATABLE_READ as i32 {
        true => Err(report::decision_by_old_snapshot()),
        false => Ok(()),
    }
}

/// Takes the lock of a context.
fn hold(ledger: &Ledger, context: &str) -> Result<(), Failure> {
    with_heads(|heads| {
        heads
            .touch_complete(ledger, context, MAX_NUMBER)
            .map(|_| ())
    })
}

fn find(number: i64) -> Result<Case, Failure> {
    let mut found = None;
    sql::call(|client| {
        let find = "
            SELECT i.context_id, i.kind, i.origin, i.sequence,
                   (SELECT pg_catalog.max(e.sequence) FROM converge_ledger.incident_entries AS e
                     WHERE e.context_id = i.context_id AND e.incident_id = i.incident_id),
                   i.leaf_hash, i.lamport, i.key, i.payload,
                   CASE pg_catalog.jsonb_typeof(i.evidence -> 'size') WHEN 'number'
                        THEN pg_catalog.trunc((i.evidence ->> 'size')::pg_catalog.numeric)::pg_catalog.int8 END,
                   i.resolved_at::pg_catalog.text, i.resolution, i.source
              FROM converge_ledger.incidents AS i
             WHERE i.incident_id = $1";
        // As an update, so that it sees what is committed by now.
        for row in client.update(find, None, &[number.into()])? {
            let first = row.get(4)?.unwrap_or(0);
            let resolved = sql::text(&row, 11)?;
            let resolution = sql::text(&row, 12)?;
            let leaf = sql::bytes(&row, 6)?;
            found = Some(Case {
                number,
                context: sql::text(&row, 1)?.unwrap_or_default(),
                kind: sql::text(&row, 2)?.unwrap_or_default(),
                origin: sql::text(&row, 3)?.unwrap_or_default(),
                first,
                last: row
                    .get(5)?
                    .unwrap_or(0)
                    .max(leaf.as_ref().map_or(0, |_| first)),
                leaf: leaf.as_deref().and_then(Hash::from_slice),
                lamport: row.get(7)?.unwrap_or(0),
                key: sql::text(&row, 8)?.unwrap_or_default(),
                payload: sql::bytes(&row, 9)?,
                size: row.get(10)?.unwrap_or(0),
                source: sql::text(&row, 13)?.unwrap_or_default(),
                resolved: resolved.map(|at| (at, resolution.unwrap_or_default())),
            });
        }
        Ok(())
    })?;
    found.ok_or_else(|| report::unknown_incident(number))
}

/// Resolves an incident by a decision.
fn close(number: i64, decision: Decision, reason: &str) -> Result<(), Failure> {
    let resolution = format!("{}: {reason}", decision.as_str());
    let close = "UPDATE converge_ledger.incidents
                    SET resolved_at = pg_catalog.clock_timestamp(), resolution = $2,
                        evidence = evidence || pg_catalog.jsonb_build_object('decision', $3::pg_catalog.text)
                  WHERE incident_id = $1
              RETURNING resolved_at IS NOT NULL AND resolution IS NOT DISTINCT FROM $2";
    let arguments = [number.into(), resolution.into(), decision.as_str().into()];
    incident::record(number, close, &arguments)
}

/// Notes a decision about an incident that is not yet carried out: it stays open, or is so again.
fn note(number: i64, decision: Decision) -> Result<(), Failure> {
    let note = "UPDATE converge_ledger.incidents
                   SET resolved_at = NULL, resolution = NULL,
                       evidence = evidence || pg_catalog.jsonb_build_object('decision', $2::pg_catalog.text)
                 WHERE incident_id = $1
             RETURNING resolved_at IS NULL AND evidence ->> 'decision' IS NOT DISTINCT FROM $2";
    incident::record(number, note, &[number.into(), decision.as_str().into()])
}

/// Puts entries at their places that a subscription may not deliver. Those that do not fit become incidents of their own.
fn place(ledger: &Ledger, case: &Case, reason: &str) -> Result<String, Failure> {
    if is_own(ledger, &case.origin) {
        return Err(report::unpinned_of_own(&case.origin));
    }
    let before = size(ledger, &case.context)?;
    receive::as_replica(|| {
        receive::put_back(&case.context, case.number)?;
        receive::settle_resolved(ledger, &case.context)
    })?;
    close(case.number, Decision::KeepTheirs, reason)?;
    let after = size(ledger, &case.context)?;
    Ok(format!(
        "the entries of origin \"{}\" are at their places as far as they fit; the context had {before} entries and has {after}",
        case.origin
    ))
}

/// How many entries of a context are judged, whose lock is held.
fn size(ledger: &Ledger, context: &str) -> Result<i64, Failure> {
    with_heads(|heads| Ok(heads.touch(ledger, context)?.now.sequence))
}

fn is_own(ledger: &Ledger, origin: &str) -> bool {
    identity::known_name(ledger).as_deref() == Some(origin)
}

/// Who records a decision in the log: the owner of the history that was kept.
enum Record {
    /// This node, by the entry with this sequence.
    Here(i64),
    /// Another node.
    Elsewhere(String),
    /// Nobody: the context is empty, or there is no leaf to name.
    Nowhere,
}

impl Record {
    /// Goes on with a sentence.
    fn told(&self) -> String {
        match self {
            Record::Here(sequence) => format!("; entry {sequence} records it"),
            Record::Elsewhere(owner) => format!(
                "; node \"{owner}\" owns the context: the decision is recorded when ledger_resolve is called there"
            ),
            Record::Nowhere => String::new(),
        }
    }
}

/// Records a decision against the history that begins with the leaf `abandoned`, if this node owns the context.
fn record(
    ledger: &Ledger,
    context: &str,
    abandoned: Option<Hash>,
    reason: &str,
) -> Result<Record, Failure> {
    let owner = with_heads(|heads| Ok(heads.touch(ledger, context)?.now.owner.clone()))?;
    let (Some(owner), Some(abandoned)) = (owner, abandoned) else {
        return Ok(Record::Nowhere);
    };
    if !is_own(ledger, &owner) {
        return Ok(Record::Elsewhere(owner.to_string()));
    }
    let sequence = crate::append::resolve::record(ledger, context, abandoned, reason)?;
    receive::recorded(context, &abandoned, sequence)?;
    Ok(Record::Here(sequence))
}
