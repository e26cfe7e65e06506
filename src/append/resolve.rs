//! Records a decision between two histories of a context: a `$resolve` entry on the side that was kept.
//!
//! It states size and root of the history before it, so every node can tell whether it is of the history that it holds.
//! Who decides, and what becomes of the other history, is the business of [`crate::resolve`].

use super::control;
use super::head::Head;
use super::heads::with_heads;
use super::stamp;
use crate::ledger::Ledger;
use crate::memory;
use crate::report::Failure;
use crate::store::scan::Sight;
use crate::store::tree::StoredTree;
use converge_ledger_core::control::{ControlKey, Resolve};
use converge_ledger_core::hash::Hash;
use std::rc::Rc;

/// Appends a `$resolve` to a context that this node owns; returns its sequence. `abandoned` is the leaf of the first entry of
/// the other history.
///
/// Errors: those of an append.
pub fn record(
    ledger: &Ledger,
    context: &str,
    abandoned: Hash,
    reason: &str,
) -> Result<i64, Failure> {
    control::append(ledger, context, ControlKey::Resolve, || {
        with_heads(|heads| {
            let head = heads.touch(ledger, context)?;
            // Before the root is read: what closes a gap belongs to it.
            stamp::prepare(ledger, head)?;
            let tree = StoredTree {
                ledger,
                context,
                sight: Sight::Latest,
            };
            let resolve = Resolve {
                size: head.now.sequence.unsigned_abs(),
                rfc6962: tree.roots(head.now.sequence)?.rfc6962,
                abandoned,
            };
            let payload = memory::have(resolve.to_payload(reason));
            Ok((payload, control::greatest_seen(head)?))
        })
    })
}

/// Readies a context for a `$resolve`; gives the name to append it under.
pub fn prepare(ledger: &Ledger, head: &mut Head, payload: &[u8]) -> Result<Rc<str>, Failure> {
    let node = stamp::prepare(ledger, head)?;
    control::judge(ledger, head, ControlKey::Resolve, &node, payload)?;
    Ok(node)
}
