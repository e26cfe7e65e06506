//! Contexts to which this node does not append, because peers have shown entries of it that it has lost.

use super::{close, record, Decision};
use crate::append::heads::with_heads;
use crate::incident;
use crate::ledger::Ledger;
use crate::report::Failure;
use crate::store::halted::{self, Halted};
use crate::store::scan::Sight;

/// Halts a context: an incident of kind `rollback` says that peers have `size` entries. What was decided before stays. The caller
/// holds the lock of the context.
pub fn set(ledger: &Ledger, context: &str, incident: i64, size: i64) {
    let halted = match halted::read(ledger, context, Sight::Latest) {
        Some(known) if known.size >= size => return,
        Some(known) => Halted { size, ..known },
        None => Halted {
            incident,
            size,
            decision: None,
        },
    };
    halt(ledger, context, &halted);
}

pub(super) fn halt(ledger: &Ledger, context: &str, halted: &Halted) {
    halted::write(ledger, context, halted);
    with_heads(|heads| heads.doubt(context));
}

/// Lets a context go on that has back what peers have shown, and records what was decided meanwhile. The caller holds the lock of
/// the context, and has compared it with a peer. Does nothing for a context that is not halted.
///
/// Errors: those of an append, where a decision is to be recorded.
pub fn clear(ledger: &Ledger, context: &str) -> Result<(), Failure> {
    let Some(halted) = halted::read(ledger, context, Sight::Latest) else {
        return Ok(());
    };
    halted::remove(ledger, context);
    let Some(decision) = halted.decision else {
        return incident::resolve(halted.incident, "all that peers have shown is back");
    };
    close(halted.incident, Decision::KeepTheirs, &decision.reason)?;
    if decision.abandoned.is_some() {
        record(ledger, context, decision.abandoned, &decision.reason)?;
    }
    Ok(())
}
