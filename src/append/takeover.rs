//! Takes a context over from an owner that is gone: a `$takeover` entry under this node's name.
//!
//! It states size and root of the history that this node holds, so every node can tell whether it continues what it
//! holds itself. Two nodes may take over at once, and a former owner may come back: that is a fork, which is found where
//! the entries meet and never merged. It cannot be prevented here, because nobody else is asked.

use super::control;
use super::head::{Head, ReadsTable};
use super::heads::with_heads;
use super::{alarm, identity, stamp};
use crate::ledger::Ledger;
use crate::memory;
use crate::report::{self, Failure};
use crate::store::scan::Sight;
use crate::store::tree::StoredTree;
use crate::store::unsettled;
use converge_ledger_core::control::{ControlKey, Takeover};
use std::rc::Rc;

/// Makes this node the owner of a context; returns the sequence of the `$takeover`.
///
/// Waits for the lock of the context. Errors: 42704 for a context without entries; 55000 when this node owns it already, and
/// when entries are missing or not judged; those of an append.
pub fn take_over(ledger: &Ledger, context: &str, reason: &str) -> Result<i64, Failure> {
    control::append(ledger, context, ControlKey::Takeover, || {
        with_heads(|heads| {
            let head = heads.touch(ledger, context)?;
            let owner = settled_owner(ledger, head)?;
            let tree = StoredTree {
                ledger,
                context,
                sight: Sight::Latest,
            };
            let takeover = Takeover {
                size: head.now.sequence.unsigned_abs(),
                rfc6962: tree.roots(head.now.sequence)?.rfc6962,
            };
            let payload = memory::have(takeover.to_payload(&owner, reason));
            Ok((payload, control::greatest_seen(head)?))
        })
    })
}

/// Readies a context for a `$takeover`; gives the name to append it under.
pub fn prepare(ledger: &Ledger, head: &mut Head, payload: &[u8]) -> Result<Rc<str>, Failure> {
    settled_owner(ledger, head)?;
    let node = identity::name(ledger)?;
    control::judge(ledger, head, ControlKey::Takeover, &node, payload)?;
    stamp::store_derived(ledger, head)?;
    Ok(node)
}

/// The owner of a context that this node can take over.
fn settled_owner(ledger: &Ledger, head: &mut Head) -> Result<Rc<str>, Failure> {
    let noted = unsettled::first(ledger, &head.context, Sight::Latest);
    if noted.is_some() || head.close_gap(ledger).is_err() {
        // A note may lie beyond what is there: then something that was kept aside is to be judged again.
        let next = head.now.sequence + 1;
        let first = noted.map_or(next, |noted| noted.min(next));
        return Err(report::takeover_of_unsettled(&head.context, first));
    }
    let Some(owner) = head.now.owner.clone() else {
        return Err(report::unknown_context(&head.context, None));
    };
    if *owner == *identity::name(ledger)? {
        return Err(report::already_owner(&head.context, &owner));
    }
    alarm::refuse(ledger, head)?;
    Ok(owner)
}
