//! Decisions between two histories of a context.

use super::{close, halted, is_own, record, role, rollback, size, Case, Decision, Record};
use crate::append::heads::with_heads;
use crate::digest;
use crate::incident::Kind;
use crate::ledger::{entry, Ledger};
use crate::receive;
use crate::report::{self, Failure};
use crate::store::halted as store;
use crate::store::scan::Sight;
use crate::store::{entries, scrubbed, subtrees};
use converge_ledger_core::continuation::Successor;
use converge_ledger_core::hash::Hash;
use converge_ledger_core::limits::MAX_NUMBER;
use converge_ledger_core::merkle::{Run, STORED_LEVELS};

/// The history that this node holds stays; the branch that is kept aside is abandoned.
pub fn keep_mine(ledger: &Ledger, case: &Case, reason: &str) -> Result<String, Failure> {
    close(case.number, Decision::KeepMine, reason)?;
    let record = record(ledger, &case.context, case.leaf, reason)?;
    Ok(format!(
        "the history of origin \"{}\" from entry {} on is abandoned{}",
        case.origin,
        case.first,
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
    role::as_replica(|| {
        receive::put_back_branch(context, case.number, first)?;
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
            format!("entries {first} to {last} of this node are abandoned and kept as an incident")
        }
    };
    let theirs = go_on(ledger, case, abandoned, reason)?;
    let now = size(ledger, context)?;
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
    if is_lost && shown > size(ledger, context)? {
        let halted = store::Halted {
            incident: case.number,
            size: shown,
            decision: Some(decision),
        };
        halted::halt(ledger, context, &halted);
        return Ok(format!(
            "; nothing is appended to it until peers have brought all {shown}"
        ));
    }
    if is_lost {
        store::remove(ledger, context);
    }
    let record: Record = record(ledger, context, abandoned, reason)?;
    Ok(record.told())
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
