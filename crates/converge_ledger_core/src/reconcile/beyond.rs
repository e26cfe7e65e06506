//! What the peer has beyond this node's last entry.
//!
//! Two of those entries are looked at: the first, and the last, whose
//! origin owns the context there. That tells whether this node was set back, and whether the
//! peer may deliver them. All of them are judged one by one when they come.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::finding::{Contradiction, Finding};
use super::request::{OwnedPolicy, Request, Side};
use super::Stop;
use crate::check::StoredRow;
use crate::memory::try_push;

#[derive(Debug)]
pub(super) struct Beyond {
    context: Box<str>,
    policy: OwnedPolicy,
    first: i64,
    last: i64,
    seen: usize,
    damaged: bool,
    own: bool,
    fetch: bool,
}

impl Beyond {
    /// *Requires* `first <= last`.
    pub(super) fn new(context: &str, policy: OwnedPolicy, first: i64, last: i64) -> Self {
        Self {
            context: context.into(),
            policy,
            first,
            last,
            seen: 0,
            damaged: false,
            own: false,
            fetch: true,
        }
    }

    fn samples(&self) -> impl Iterator<Item = i64> {
        let last = (self.last > self.first).then_some(self.last);
        core::iter::once(self.first).chain(last)
    }

    #[allow(clippy::disallowed_methods, reason = "at most two")]
    pub(super) fn ask(&self) -> Vec<Request> {
        let request = |sequence| Request::Row {
            of: Side::Peer,
            sequence,
        };
        self.samples().map(request).collect()
    }

    /// Takes the peer's row to the next request.
    pub(super) fn answer(
        &mut self,
        row: Option<StoredRow<'_>>,
        findings: &mut Vec<Finding>,
    ) -> Result<(), Stop> {
        let Some(sequence) = self.samples().nth(self.seen) else {
            return Ok(());
        };
        self.seen += 1;
        let row = row.ok_or(Contradiction::MissingEntry { sequence })?;
        if row.sequence != sequence {
            let (asked, received) = (sequence, row.sequence);
            return Err(Contradiction::OtherEntry { asked, received }.into());
        }
        match row.acceptable(&self.context) {
            Some((entry, _)) => {
                self.own |= *entry.origin == *self.policy.node;
                self.fetch &= self.policy.may_deliver(entry.origin);
            }
            None => {
                self.damaged = true;
                try_push(findings, Finding::PeerDamaged { sequence })?;
            }
        }
        Ok(())
    }

    /// What follows, if the entries before are no fork.
    pub(super) fn finding(&self) -> Option<Finding> {
        let Self {
            first, last, fetch, ..
        } = *self;
        match self {
            Self { damaged: true, .. } => None,
            Self { own: true, .. } => Some(Finding::Rollback { first, last }),
            _ => Some(Finding::MissingHere { first, last, fetch }),
        }
    }
}
