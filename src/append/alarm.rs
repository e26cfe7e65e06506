//! Refuses to append to a context while it is halted, and to any context while the alarm of a peer stops all appends: peers have entries
//! of this node that it has lost.

use super::head::Head;
use crate::ledger::Ledger;
use crate::report::{self, Failure};
use crate::store::scan::Sight;
use crate::store::{halted, peer_alarms};

/// Refuses to append behind this head if its context or the whole node is halted. Asked once for each context in a transaction, under its lock.
///
/// Cost: a look at the sizes of two tables that nearly always are empty.
pub fn refuse(ledger: &Ledger, head: &mut Head) -> Result<(), Failure> {
    if head.now.may_append {
        return Ok(());
    }
    if let Some(halted) = halted::read(ledger, &head.context, Sight::Latest) {
        return Err(report::halted(&head.context, head.now.sequence, &halted));
    }
    if let Some(alarm) = peer_alarms::first(ledger, Sight::Latest) {
        return Err(report::all_halted(&alarm));
    }
    head.now.may_append = true;
    Ok(())
}
