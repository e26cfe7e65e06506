//! Decisions between two histories of a context.

use super::{close, halted, is_own, record, rollback, size, Case, Decision, Record};
use crate::append::head::ReadsTable;
use crate::append::heads::with_heads;
use crate::digest;
use crate::incident::{self, Fields, Kind, New};
use crate::ledger::{entry, Ledger};
use crate::memory;
use crate::receive;
use crate::report::{self, Failure};
use crate::store::halted as store;
use crate::store::scan::Sight;
use crate::store::{entries, scrubbed, subtrees, write};
use converge_ledger_core::continuation::Successor;
use converge_ledger_core::hash::Hash;
use converge_ledger_core::limits::MAX_NUMBER;
use converge_ledger_core::merkle::{Run, STORED_LEVELS};
use pgrx::pg_sys;

/// The history that this node holds stays; the branch that is kept aside is abandoned.
pub fn keep_mine(ledger: &Ledger, case: &Case, reason: &str) -> Result<String, Failure> {
    close(case.number, Decision::KeepMine, reason)?;
    let record = record(ledger, &case.context, case.leaf, reason)?;
    Ok(format!(
        "the history of origin \"{}\" from entry {} on is abandoned and kept as incident {}{}",
        case.origin,
        case.first,
        case.number,
        record.told()
    ))
}

/// The entries of this node are taken out from the first on in which the histories differ, and kept as an incident; those of the
/// other history are put into their places.
pub fn keep_theirs(ledger: &Ledger, case: &Case, reason: &str) -> Result<String, Failure> {
    let (context, first) = (&*case.context, case.first);
    let last = size(ledger, context)?;
    if first > last + 1 {
        return Err(report::missing_before_branch(context, first, last));
    }
    let (Some(payload), Some(leaf)) = (&case.payload, case.leaf) else {
        return Err(report::branch_without_content(context, first));
    };
    let next = Successor {
        sequence: first,
        lamport: case.lamport,
        origin: &case.origin,
        key: &case.key,
        payload: Some(payload),
    };
    with_heads(|heads| {
        let head = heads.touch(ledger, context)?;
        head.retreat(ledger, first - 1);
        head.judge(ledger, &next)?
            .map_err(|reason| report::differs_before(context, first, &reason.to_string()))
    })?;
    let abandoned = receive::abandon(ledger, context, first, last, reason)?;
    forget_derived(ledger, context, first);
    receive::as_replica(|| {
        receive::put_back_branch(context, case.number, first)?;
        receive::keep_rest(case.number)?;
        receive::settle_resolved(ledger, context)
    })?;
    close(case.number, Decision::KeepTheirs, reason)?;
    let is_placed = |row: &crate::store::scan::Row| {
        row.bytes(entry::LEAF_HASH).and_then(Hash::from_slice) == Some(leaf)
    };
    if entries::with_entry(ledger, context, first, Sight::Latest, is_placed) != Some(true) {
        return Err(report::branch_not_placed(context, first));
    }
    let mine = match last - first + 1 {
        0 => String::from("no entry of this node is abandoned"),
        _ => {
            let incidents = memory::join(abandoned.incidents.iter().map(i64::to_string), ", ");
            format!(
                "entries {first} to {last} of this node are abandoned and kept as incident {incidents}"
            )
        }
    };
    let now = size(ledger, context)?;
    let theirs = go_on(ledger, case, abandoned.leaf, reason)?;
    Ok(format!(
        "{mine}; the context goes on with the history of origin \"{}\" and has {now} entries{theirs}",
        case.origin
    ))
}

/// Records the decision; where the other history is this node's own, only once it has all of it.
fn go_on(
    ledger: &Ledger,
    case: &Case,
    abandoned: Option<Hash>,
    reason: &str,
) -> Result<String, Failure> {
    let context = &*case.context;
    let is_lost = is_own(ledger, &case.origin);
    let lost = match is_lost {
        true => receive::open_branch(context, Kind::Rollback, &case.origin)?,
        false => None,
    };
    let known = store::read(ledger, context, Sight::Latest);
    let decision = store::Decision {
        reason: reason.to_owned(),
        abandoned,
    };
    if let Some(lost) = lost {
        let lost = super::find(lost.number)?;
        return Ok(format!(
            "; {}",
            rollback::put_back(ledger, &lost, decision)?
        ));
    }
    let shown = known.map_or(0, |halted| halted.size).max(case.size);
    let now = size(ledger, context)?;
    // Where nobody has told how much there is, a peer has to be compared first.
    if is_lost && (shown == 0 || shown > now) {
        let until = match shown {
            0 => String::from("a peer has been compared"),
            _ => format!("peers have brought all {shown}"),
        };
        let halted = store::Halted {
            incident: await_rest(case, now + 1, shown)?,
            size: shown.max(now),
            decision: Some(decision),
        };
        halted::halt(ledger, context, &halted)?;
        return Ok(format!("; nothing is appended to it until {until}"));
    }
    if is_lost {
        store::remove(ledger, context);
    }
    let record: Record = record(ledger, context, abandoned, reason)?;
    Ok(record.told())
}

/// Begins the incident that is open until the rest of this node's own history is back, from `first` on; returns its number.
fn await_rest(case: &Case, first: i64, shown: i64) -> Result<i64, Failure> {
    let mut fields = Fields([None; entry::COUNT]);
    fields.0[entry::CONTEXT_ID - 1] = Some(write::text(&case.context));
    fields.0[entry::ORIGIN - 1] = Some(write::text(&case.origin));
    fields.0[entry::SEQUENCE - 1] = Some(pg_sys::Datum::from(first));
    let mut evidence = serde_json::Map::new();
    evidence.insert("size".to_owned(), shown.into());
    evidence.insert("decision".to_owned(), Decision::KeepTheirs.as_str().into());
    incident::write_down(New {
        kind: Kind::Rollback,
        fields: &fields,
        reason: "the rest of a history of its own that this node was told to keep",
        evidence,
        source: "",
    })
}

/// Removes what is stored about the tree from an entry on.
fn forget_derived(ledger: &Ledger, context: &str, first: i64) {
    let index = first.unsigned_abs() - 1;
    for level in STORED_LEVELS {
        let run = Run {
            level,
            first: index >> level,
            count: MAX_NUMBER.unsigned_abs() >> level,
        };
        subtrees::remove_run(ledger, context, run);
    }
    digest::forget(ledger, Some(context));
    scrubbed::forget(ledger, context);
}
