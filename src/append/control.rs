//! Appends control entries: what administrators decide, stated in the log under this node's name.
//!
//! What one may state, and when, is decided by whoever calls: `takeover` and `resolve`.

use super::direct::{Inserter, NewEntry};
use super::head::{Head, ReadsTable};
use super::stamp::{self, Outcome, Terms};
use crate::jsonb;
use crate::ledger::Ledger;
use crate::receive;
use crate::report::{self, Failure};
use crate::store::write::{bytea, text};
use converge_ledger_core::continuation::Successor;
use converge_ledger_core::control::ControlKey;
use converge_ledger_core::lamport::LamportTime;

/// Appends a control entry; returns its sequence. `state` gives its payload, and the Lamport time that it must be above:
/// it is called once the table is open, and takes the lock of the context.
///
/// Errors: those of an append.
pub fn append(
    ledger: &Ledger,
    context: &str,
    control: ControlKey,
    state: impl FnOnce() -> Result<(String, Option<i64>), Failure>,
) -> Result<i64, Failure> {
    let mut inserter = Inserter::open(ledger)?;
    let (payload, received) = state()?;
    let new = NewEntry {
        context: text(context),
        key: text(control.as_str()),
        id: text(""),
        payload: bytea(payload.as_bytes()),
        metadata: jsonb::empty_object(),
    };
    let terms = Terms {
        received,
        control: Some(control),
    };
    let outcome = inserter.insert(&new, terms)?;
    inserter.close();
    match outcome {
        Outcome::Stamped(stamp, _) => Ok(stamp.sequence),
        // It has no id.
        Outcome::Retry { .. } | Outcome::Conflict { .. } => {
            Err(report::internal("a control entry was taken for a retry"))
        }
    }
}

/// Judges a control entry as every other node will: triggers of a user have seen the row, and may have changed it.
pub fn judge(
    ledger: &Ledger,
    head: &Head,
    control: ControlKey,
    node: &str,
    payload: &[u8],
) -> Result<(), Failure> {
    let next = Successor {
        sequence: head.now.sequence + 1,
        lamport: head.now.lamport + 1,
        origin: node,
        key: control.as_str(),
        payload: Some(payload),
    };
    head.judge(ledger, &next)?
        .map_err(|reason| report::changed_control_entry(control.as_str(), &reason.to_string()))
}

/// The greatest Lamport time of the context that was kept aside, as far as its clock may follow: an entry about what was
/// kept aside comes after it.
pub fn greatest_seen(head: &Head) -> Result<Option<i64>, Failure> {
    let own = match head.now.sequence {
        0 => None,
        _ => Some(
            LamportTime::new(head.now.lamport)
                .map_err(|error| report::lamport(&head.context, error))?,
        ),
    };
    let limit = LamportTime::limit(own, stamp::clock()?);
    receive::greatest_lamport(&head.context, limit)
}
