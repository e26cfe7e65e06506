//! The state of one context as the table has it: read, asked about rows, and compared with what would follow.
//!
//! What a transaction knows of a context is [`Head`]; which contexts it knows is the business of `heads`.

use super::statement;
use crate::ledger::{entry, Ledger};
use crate::report::{self, Failure};
use crate::store::entries::{self, Last, Located};
use crate::store::scan::Sight;
use crate::store::tree::StoredTree;
pub use converge_ledger_core::context_state::{ContextState as Head, Mark, Way};
use converge_ledger_core::context_state::{Evidence, Lost, Standing, Ticket, Version};
use converge_ledger_core::continuation::{Discontinuity, Predecessor, Successor};
use converge_ledger_core::hash::Hash;
use converge_ledger_core::limits::MAX_NUMBER;

/// What became of rows, as the table and the executor tell.
pub struct Rows<'a>(pub &'a Ledger);

impl Evidence for Rows<'_> {
    fn is_in_hand(&self, ticket: Ticket) -> bool {
        statement::is_in_hand(ticket)
    }

    fn standing(&mut self, context: &str, sequence: i64, leaf: &Hash) -> Standing {
        let is_same = |row: &crate::store::scan::Row| {
            row.bytes(entry::LEAF_HASH) == Some(leaf.as_bytes().as_slice())
        };
        match entries::with_entry(self.0, context, sequence, Sight::Latest, is_same) {
            None => Standing::Missing,
            Some(true) => Standing::Same,
            Some(false) => Standing::Other,
        }
    }
}

/// The end of a context as it was read.
pub fn mark(located: Located, noted: Option<i64>, version: Version) -> Mark {
    let Located { last, beyond } = located;
    let known = Mark {
        beyond,
        noted,
        version,
        ..Mark::default()
    };
    match last {
        None => known,
        Some(last) => Mark {
            sequence: last.sequence,
            lamport: last.lamport,
            appended_at: last.appended_at,
            owner: Some(last.origin.into()),
            ..known
        },
    }
}

/// What needs the table.
pub trait ReadsTable {
    /// Finds out what became of the rows that could be suppressed, and takes back the last one if it was.
    ///
    /// Errors: 40001 if somebody else has taken the place of one; 55000 if others were appended behind one.
    fn settle_rows(&mut self, ledger: &Ledger) -> Result<(), Failure>;

    /// Whether the last entry is in the table.
    fn is_there(&self, ledger: &Ledger) -> bool;

    /// Whether an entry whose sequence is the next one continues the context.
    fn judge(
        &self,
        ledger: &Ledger,
        next: &Successor,
    ) -> Result<Result<(), Discontinuity>, Failure>;

    /// Refuses a complete entry that does not continue the context.
    fn check(&self, ledger: &Ledger, next: &Successor) -> Result<(), Failure>;

    /// Refuses to go on behind a missing entry. Those that arrived meanwhile close the gap.
    fn close_gap(&mut self, ledger: &Ledger) -> Result<(), Failure>;

    /// Goes back to an earlier end of the context: the entries behind it are no longer part of it.
    fn retreat(&mut self, ledger: &Ledger, end: i64);
}

impl ReadsTable for Head {
    fn settle_rows(&mut self, ledger: &Ledger) -> Result<(), Failure> {
        self.settle(&mut Rows(ledger)).map_err(|lost| match lost {
            Lost::Taken { sequence } => report::place_taken(&self.context, sequence),
            Lost::Hole { sequence } => report::suppressed_before_others(&self.context, sequence),
        })
    }

    fn is_there(&self, ledger: &Ledger) -> bool {
        let Mark {
            sequence, lamport, ..
        } = self.now;
        let owner = self.now.owner.as_deref();
        sequence == 0
            || entries::with_entry(ledger, &self.context, sequence, Sight::Latest, |row| {
                row.int8(entry::LAMPORT) == lamport && owner == Some(row.text(entry::ORIGIN))
            }) == Some(true)
    }

    fn judge(
        &self,
        ledger: &Ledger,
        next: &Successor,
    ) -> Result<Result<(), Discontinuity>, Failure> {
        judge(ledger, &self.context, last(&self.now), next)
    }

    fn check(&self, ledger: &Ledger, next: &Successor) -> Result<(), Failure> {
        check(ledger, &self.context, last(&self.now), next)
    }

    fn close_gap(&mut self, ledger: &Ledger) -> Result<(), Failure> {
        let Some(beyond) = self.now.beyond else {
            return Ok(());
        };
        if self.now.noted.is_some() {
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
            may_append: self.now.may_append,
            ..mark(contiguous(located.last), None, self.now.version)
        };
        Ok(())
    }

    fn retreat(&mut self, ledger: &Ledger, end: i64) {
        let located = entries::last(ledger, &self.context, end, end, Sight::Latest);
        self.reset(Mark {
            first: self.now.first.filter(|first| *first <= end),
            may_append: self.now.may_append,
            ..mark(contiguous(located.last), self.now.noted, self.now.version)
        });
    }
}

/// Nothing is known beyond the last entry.
fn contiguous(last: Option<Last>) -> Located {
    Located { last, beyond: None }
}

/// The last entry, as the next one has to follow it.
fn last(now: &Mark) -> Option<Predecessor<'_>> {
    now.owner.as_deref().map(|origin| Predecessor {
        lamport: now.lamport,
        origin,
    })
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
