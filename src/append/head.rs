//! The head of one context: what its next entry builds on.
//!
//! Judges what would follow it, and knows how to take its last entry back. Which contexts have a head, and what becomes of
//! them with a subtransaction, is the business of `heads`.

use super::leaves::Leaves;
use crate::ledger::{entry, Ledger};
use crate::report::{self, Failure};
use crate::store::entries::{self, Last};
use crate::store::scan::Sight;
use crate::store::tree::StoredTree;
use converge_ledger_core::continuation::{Discontinuity, Predecessor, Successor};
use converge_ledger_core::hash::{Hash, NodeHashes};
use converge_ledger_core::limits::MAX_NUMBER;
use std::rc::Rc;

/// What the next entry of a context builds on.
#[derive(Clone)]
pub struct Mark {
    /// Last sequence, 0 for a context without entries.
    pub sequence: i64,
    pub lamport: i64,
    /// Microseconds since 1970 of the last entry, if it has a time that the format can hold.
    pub appended_at: Option<i64>,
    /// Origin of the last entry; none for a context without entries.
    pub owner: Option<Rc<str>>,
    /// First sequence that this transaction stamped; none if it stamped nothing.
    pub first: Option<i64>,
    /// The highest sequence that is known to exist beyond a missing one.
    pub beyond: Option<i64>,
    /// This transaction has put an entry there.
    pub opened_gap: bool,
}

/// Whether an entry that was stamped or placed will be inserted, unless an error ends the statement.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    WillBeInserted,
    MayBeGivenUp,
}

/// A context that this transaction has touched.
pub struct Head {
    pub context: Rc<str>,
    pub now: Mark,
    /// State before the last entry, in case its row is given up after it was stamped.
    pub before: Option<Mark>,
    /// The last entry was placed with an id, which another entry may have: ON CONFLICT DO NOTHING drops it then.
    pub(super) uncertain: bool,
    /// Leaves of the block that is being filled, if this transaction stamped them all and nothing gave them up.
    pub(super) block: Leaves,
    /// Nesting level for which `undo` already knows how to go back.
    pub(super) saved_at: i32,
    /// Whether it has a lock of its own.
    pub(super) locked: bool,
    /// From where on entries are noted as not judged.
    pub noted: Option<i64>,
    /// It was looked whether the context is halted, and it is not.
    pub may_append: bool,
}

impl Mark {
    pub(super) fn from_last(last: Option<Last>, beyond: Option<i64>) -> Mark {
        match last {
            None => Mark {
                sequence: 0,
                lamport: 0,
                appended_at: None,
                owner: None,
                first: None,
                beyond,
                opened_gap: false,
            },
            Some(last) => Mark {
                sequence: last.sequence,
                lamport: last.lamport,
                appended_at: last.appended_at,
                owner: Some(last.origin.into()),
                first: None,
                beyond,
                opened_gap: false,
            },
        }
    }
}

impl Head {
    /// Whether an entry whose sequence is the next one continues the context.
    pub fn judge(
        &self,
        ledger: &Ledger,
        next: &Successor,
    ) -> Result<Result<(), Discontinuity>, Failure> {
        judge(ledger, &self.context, self.last(), next)
    }

    /// Refuses a complete entry that does not continue the context.
    pub fn check(&self, ledger: &Ledger, next: &Successor) -> Result<(), Failure> {
        check(ledger, &self.context, self.last(), next)
    }

    /// The last entry, as the next one has to follow it.
    fn last(&self) -> Option<Predecessor<'_>> {
        self.now.owner.as_deref().map(|origin| Predecessor {
            lamport: self.now.lamport,
            origin,
        })
    }

    /// Takes back the last entry if its row was given up after it was stamped (ON CONFLICT DO NOTHING
    /// on a unique index that a user added).
    pub fn settle(&mut self, ledger: &Ledger) {
        if self.before.is_some()
            && !entries::exists(ledger, &self.context, self.now.sequence, Sight::Latest)
        {
            if let Some(before) = self.before.take() {
                self.now = before;
                self.block.forget_behind(self.now.sequence);
            }
        }
    }

    /// Refuses to go on behind a missing entry. Those that arrived meanwhile close the gap.
    pub fn close_gap(&mut self, ledger: &Ledger) -> Result<(), Failure> {
        let Some(beyond) = self.now.beyond else {
            return Ok(());
        };
        if self.noted.is_some() {
            let next = self.now.sequence + 1;
            let is_there = entries::exists(ledger, &self.context, next, Sight::Latest);
            return Err(match is_there {
                true => report::not_judged(&self.context, next),
                false => report::gap(&self.context, self.now.sequence),
            });
        }
        let from = self.now.sequence + 1;
        let mut reached = self.now.sequence;
        let (mut lamport, mut owner) = (self.now.lamport, self.now.owner.clone());
        let mut scan = entries::range(ledger, &self.context, from, beyond, Sight::Latest);
        while let Some(row) = scan.next() {
            let sequence = row.int8(entry::SEQUENCE);
            if sequence != reached + 1 {
                break;
            }
            let next = Successor {
                sequence,
                lamport: row.int8(entry::LAMPORT),
                origin: row.text(entry::ORIGIN),
                key: row.text(entry::KEY),
                payload: row.bytes(entry::PAYLOAD),
            };
            let last = owner
                .as_deref()
                .map(|origin| Predecessor { lamport, origin });
            check(ledger, &self.context, last, &next)?;
            if owner.as_deref() != Some(next.origin) {
                owner = Some(next.origin.into());
            }
            lamport = next.lamport;
            reached = sequence;
        }
        let located = entries::last(ledger, &self.context, reached, MAX_NUMBER, Sight::Latest);
        if reached < beyond || located.beyond.is_some() {
            return Err(if self.now.opened_gap {
                report::open_gap(&self.context, reached)
            } else {
                report::gap(&self.context, reached)
            });
        }
        self.now = Mark {
            first: self.now.first,
            ..Mark::from_last(located.last, None)
        };
        self.before = None;
        Ok(())
    }

    /// Goes back to an earlier end of the context: the entries behind it are no longer part of it.
    pub fn retreat(&mut self, ledger: &Ledger, end: i64) {
        let located = entries::last(ledger, &self.context, end, end, Sight::Latest);
        self.now = Mark {
            first: self.now.first.filter(|first| *first <= end),
            ..Mark::from_last(located.last, None)
        };
        self.before = None;
        self.uncertain = false;
        self.block.forget_behind(end);
    }

    /// Moves on to a new entry.
    pub fn advance(&mut self, next: Mark, certainty: Certainty) {
        self.uncertain = certainty == Certainty::MayBeGivenUp;
        self.before = Some(std::mem::replace(&mut self.now, next));
    }

    /// Keeps leaves, up to that of the last entry, for the subtree of their block: the caller knows that nothing but an
    /// error keeps their rows from being inserted.
    pub fn keep(&mut self, leaves: impl ExactSizeIterator<Item = Hash>) {
        let first = self.now.sequence - leaves.len() as i64 + 1;
        for (sequence, leaf) in (first..).zip(leaves) {
            self.block.push(sequence, leaf);
        }
    }

    /// Keeps the hashes of the block that the last entry completes, in place of its leaves.
    pub fn keep_block(&mut self, hashes: NodeHashes) {
        self.block.set_complete(self.now.sequence, hashes);
    }

    /// The hashes of the block that the last entry completes, if all its leaves were kept.
    pub fn kept_block(&self) -> Option<NodeHashes> {
        self.block.complete(self.now.sequence)
    }
}

/// Whether an entry continues a context whose last entry is `last`. All entries before it are in the table.
fn judge(
    ledger: &Ledger,
    context: &str,
    last: Option<Predecessor>,
    next: &Successor,
) -> Result<Result<(), Discontinuity>, Failure> {
    let tree = StoredTree {
        ledger,
        context,
        sight: Sight::Latest,
    };
    next.continues(last, || Ok(tree.roots(next.sequence - 1)?.rfc6962))
}

/// Refuses a complete entry that does not continue a context.
fn check(
    ledger: &Ledger,
    context: &str,
    last: Option<Predecessor>,
    next: &Successor,
) -> Result<(), Failure> {
    match judge(ledger, context, last, next)? {
        // No limit of the format, but of what others may deliver: who can insert complete entries can also alter them.
        Ok(()) | Err(Discontinuity::ClockLeaps { .. }) => Ok(()),
        Err(reason) => {
            let owner = last.map_or("", |last| last.origin);
            Err(report::discontinuity(context, next, owner, reason))
        }
    }
}
