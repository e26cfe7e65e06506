//! Refuses to append to a context while it is halted: peers have entries of this node that it has lost.

use super::head::Head;
use crate::ledger::Ledger;
use crate::report::{self, Failure};
use crate::store::halted;
use crate::store::scan::Sight;

/// Refuses to append behind this head if its context is halted. Asked once for each context in a transaction, under its lock.
///
/// Cost: a look at the size of a table that nearly always is empty.
pub fn refuse(ledger: &Ledger, head: &mut Head) -> Result<(), Failure> {
    if head.now.may_append {
        return Ok(());
    }
    if let Some(halted) = halted::read(ledger, &head.context, Sight::Latest) {
        return Err(report::halted(&head.context, head.now.sequence, &halted));
    }
    head.now.may_append = true;
    Ok(())
}
