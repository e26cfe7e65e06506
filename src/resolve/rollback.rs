//! Decisions about entries of this node's own that peers have and it has not.

use super::{close, halted, is_own, note, record, size, Case, Decision};
use crate::incident::Kind;
use crate::ledger::Ledger;
use crate::receive;
use crate::report::{self, Failure};
use crate::store::halted::{self as store, Halted};
use crate::store::scan::Sight;

/// The entries of the peers are put back: those that are here at once, the others when peers send them, or the reconciler
/// fetches them. Until then nothing is appended.
pub fn keep_theirs(ledger: &Ledger, case: &Case, reason: &str) -> Result<String, Failure> {
    if let Some(fork) = receive::open_branch(&case.context, Kind::Fork, &case.origin)? {
        return Err(report::fork_comes_first(fork.number, fork.sequence));
    }
    if !is_own(ledger, &case.origin) {
        return Err(report::rollback_of_other(&case.origin));
    }
    let decision = store::Decision {
        reason: reason.to_owned(),
        abandoned: None,
    };
    put_back(ledger, case, decision)
}

/// Puts back what is kept of this node's lost entries, and halts the context as long as more of them is missing.
pub fn put_back(
    ledger: &Ledger,
    case: &Case,
    decision: store::Decision,
) -> Result<String, Failure> {
    let context = &case.context;
    let before = size(ledger, context)?;
    receive::as_replica(|| {
        if (case.first..=case.last).contains(&(before + 1)) {
            receive::put_back_branch(context, case.number, before + 1)?;
        }
        receive::settle_resolved(ledger, context)
    })?;
    let after = size(ledger, context)?;
    let noted = store::read(ledger, context, Sight::Latest);
    let known = noted.as_ref().map_or(0, |halted| halted.size);
    let shown = known.max(case.size).max(case.last);
    // A decision between two histories that has not been recorded yet still is to be.
    let earlier = noted.and_then(|halted| halted.decision?.abandoned);
    let decision = store::Decision {
        abandoned: decision.abandoned.or(earlier),
        ..decision
    };
    // Written in any case: `clear` carries the decision out.
    let halted = Halted {
        incident: case.number,
        size: shown,
        decision: Some(decision),
    };
    halted::halt(ledger, context, &halted)?;
    note(case.number, Decision::KeepTheirs)?;
    let count = after - before;
    if after < shown {
        return Ok(format!(
            "{count} entries are put back; the context has {after} of {shown}, and nothing is appended to it until peers have brought the others"
        ));
    }
    halted::clear(ledger, context)?;
    Ok(format!(
        "{count} entries are put back; the context has all {after} that peers have shown, and this node may append to it"
    ))
}

/// This node goes on without them: they become another history of the context.
pub fn keep_mine(ledger: &Ledger, case: &Case, reason: &str) -> Result<String, Failure> {
    let halted = store::read(ledger, &case.context, Sight::Latest);
    store::remove(ledger, &case.context);
    close(case.number, Decision::KeepMine, reason)?;
    // A decision that was waiting for them is recorded all the same.
    let waiting = halted.and_then(|halted| halted.decision?.abandoned);
    let record = record(ledger, &case.context, waiting.or(case.leaf), reason)?;
    Ok(format!(
        "the entries from {} on that peers have, those of incident {}, are abandoned, and this node may append{}",
        case.first,
        case.number,
        record.told()
    ))
}
