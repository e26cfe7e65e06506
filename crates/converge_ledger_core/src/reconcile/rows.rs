//! The rows behind leaves that differ or are suspect: which of the two is sound, and what follows.
//!
//! First this node's rows are looked at, then the peer's, as far as they matter: a sound row here
//! whose leaf the peer shares needs no other. Of rows only hashes and origins are kept.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::descent::Place;
use super::finding::{Contradiction, Finding, First, OwnRow, Unrestored};
use super::request::{OwnedPolicy, Request, Side};
use super::Stop;
use crate::check::StoredRow;
use crate::entry::Entry;
use crate::hash::Hash;
use crate::limits::MAX_CONTENT_BYTES;
use crate::memory::{try_collect, try_push, try_push_back, try_text, OutOfMemory};

/// How many rows are asked for in the first step, and at most: behind the beginning of a fork
/// none is needed.
const FIRST_ROWS: usize = 16;
const MOST_ROWS: usize = 1024;

/// How many differences a comparison collects before it leaves the rest to another round.
const MOST_DIFFERENCES: usize = 1 << 18;
/// How many rows of the peer may fail before the rest is left to another round.
const MOST_FAILED_ROWS: usize = 256;

/// What a row of this node is.
#[derive(Clone, Debug)]
enum Own {
    Sound(First),
    Fails {
        state: OwnRow,
        /// Whether its content is known to be erased.
        erased: bool,
        /// Whether what is left of it says that the peer's entry is another one.
        against: bool,
    },
}

/// A row that fails here and would make the peer's tree right.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    sequence: i64,
    leaf: Hash,
    mine: OwnRow,
    content: Option<u64>,
}

impl Candidate {
    fn restore(self) -> Finding {
        Finding::Restore {
            sequence: self.sequence,
            leaf: self.leaf,
            mine: self.mine,
            content: self.content,
        }
    }

    fn leave(self, reason: Unrestored) -> Finding {
        Finding::Unrestored {
            sequence: self.sequence,
            mine: self.mine,
            reason,
        }
    }
}

#[derive(Debug)]
pub(super) struct Rows {
    context: Arc<str>,
    policy: OwnedPolicy,
    waiting: VecDeque<Place>,
    asked_mine: VecDeque<Place>,
    /// Whose row of this node is known, and the peer's is wanted.
    asked_peer: VecDeque<(Place, Own)>,
    width: usize,
    /// Rows that are restored if the peer's tree turns out to be right.
    candidates: Vec<Candidate>,
    /// Whether the trees differ in something else than rows that fail here only.
    undecided: bool,
    forked: bool,
    differences: usize,
    failed: usize,
}

impl Rows {
    pub(super) fn new(context: &str, policy: OwnedPolicy) -> Self {
        Self {
            context: context.into(),
            policy,
            waiting: VecDeque::new(),
            asked_mine: VecDeque::new(),
            asked_peer: VecDeque::new(),
            width: FIRST_ROWS,
            candidates: Vec::new(),
            undecided: false,
            forked: false,
            differences: 0,
            failed: 0,
        }
    }

    /// Leaves whose rows are to be looked at, right of all before.
    pub(super) fn look_at(&mut self, leaves: VecDeque<Place>) -> Result<(), OutOfMemory> {
        leaves
            .into_iter()
            .try_for_each(|leaf| try_push_back(&mut self.waiting, leaf))
    }

    /// Whether two sound rows differ: nothing to the right of them is looked at any more.
    pub(super) fn forked(&self) -> bool {
        self.forked
    }

    /// Whether enough was found.
    pub(super) fn full(&self) -> bool {
        self.differences >= MOST_DIFFERENCES || self.failed >= MOST_FAILED_ROWS
    }

    /// The next leaf whose rows are to be looked at.
    pub(super) fn next_leaf(&self) -> Option<u64> {
        self.waiting.front().map(|place| place.node.index)
    }

    /// What to ask next; nothing when no leaf waits.
    pub(super) fn ask(&mut self) -> Result<VecDeque<Request>, OutOfMemory> {
        let request = |of, place: &Place| Request::Row {
            of,
            sequence: sequence_of(place),
        };
        if self.asked_peer.is_empty() {
            let count = self.width.min(self.waiting.len());
            self.asked_mine = try_collect(self.waiting.drain(..count))?.into();
            if count > 0 {
                self.width = MOST_ROWS.min(self.width * 2);
            }
            let mine = self.asked_mine.iter();
            Ok(try_collect(mine.map(|place| request(Side::Mine, place)))?.into())
        } else {
            let theirs = self.asked_peer.iter();
            Ok(try_collect(theirs.map(|(place, _)| request(Side::Peer, place)))?.into())
        }
    }

    /// Takes this node's row of the next leaf.
    pub(super) fn answer_mine(
        &mut self,
        row: Option<StoredRow<'_>>,
        erased: bool,
    ) -> Result<(), Stop> {
        let Some(place) = self.asked_mine.pop_front() else {
            return Ok(());
        };
        let sequence = sequence_of(&place);
        check_leaf(row.as_ref(), place.mine, sequence)?;
        let own = match &row {
            None => Own::Fails {
                state: OwnRow::Missing,
                erased,
                against: false,
            },
            Some(row) => match row.sound(&self.context) {
                Some(_) if place.mine == Some(place.theirs) => return Ok(()),
                Some((entry, leaf)) => Own::Sound(first(&entry, leaf)?),
                None => Own::Fails {
                    state: OwnRow::Damaged,
                    erased: erased || (row.payload.is_none() && row.content_digest.is_some()),
                    against: stands_against(row, &self.context, place.theirs),
                },
            },
        };
        try_push_back(&mut self.asked_peer, (place, own))?;
        Ok(())
    }

    /// Takes the peer's row of the next leaf.
    pub(super) fn answer_peer(
        &mut self,
        row: Option<StoredRow<'_>>,
        content: Option<u64>,
        findings: &mut Vec<Finding>,
    ) -> Result<(), Stop> {
        let Some((place, own)) = self.asked_peer.pop_front() else {
            return Ok(());
        };
        if self.forked {
            return Ok(());
        }
        let sequence = sequence_of(&place);
        check_leaf(row.as_ref(), Some(place.theirs), sequence)?;
        self.differences += 1;
        let context = Arc::clone(&self.context);
        let theirs = row.as_ref().and_then(|row| row.acceptable(&context));
        let too_large = content.filter(|bytes| *bytes > MAX_CONTENT_BYTES as u64);
        let theirs = theirs.filter(|_| too_large.is_none());
        match (theirs, own) {
            (Some((entry, leaf)), Own::Sound(mine)) => {
                let theirs = first(&entry, leaf)?;
                let fork = Finding::Fork {
                    sequence,
                    mine,
                    theirs,
                };
                try_push(findings, fork)?;
                self.forked = true;
                self.undecided = true;
            }
            (
                Some((entry, leaf)),
                Own::Fails {
                    state,
                    erased,
                    against,
                },
            ) => {
                let candidate = Candidate {
                    sequence,
                    leaf,
                    mine: state,
                    content: content.filter(|_| !erased),
                };
                self.undecided |= against && !place.agreed;
                if !erased && content.is_none() {
                    try_push(findings, candidate.leave(Unrestored::WithoutContent))?;
                } else {
                    self.propose(candidate, &entry, place.agreed, findings)?;
                }
            }
            (None, own) => {
                self.failed += 1;
                self.undecided |= place.mine != Some(place.theirs);
                let finding = match own {
                    Own::Sound(_) => Finding::PeerDamaged { sequence },
                    Own::Fails { state, .. } => Finding::Unrestored {
                        sequence,
                        mine: state,
                        reason: match too_large {
                            Some(bytes) => Unrestored::TooLarge { bytes },
                            None => Unrestored::PeerDamaged,
                        },
                    },
                };
                try_push(findings, finding)?;
            }
        }
        Ok(())
    }

    /// A row fails here and is sound there.
    fn propose(
        &mut self,
        candidate: Candidate,
        entry: &Entry<'_>,
        agreed: bool,
        findings: &mut Vec<Finding>,
    ) -> Result<(), OutOfMemory> {
        if agreed {
            try_push(findings, candidate.restore())
        } else if !self.policy.may_deliver(entry.origin) {
            try_push(findings, candidate.leave(Unrestored::ForeignOrigin))
        } else {
            try_push(&mut self.candidates, candidate)
        }
    }

    /// Decides about rows that nothing here vouches for. The peer's tree is the right one if it
    /// was compared to the end and no row of this node stands against it: no sound one, and none
    /// whose leaf is left.
    pub(super) fn conclude(
        &mut self,
        compared: bool,
        findings: &mut Vec<Finding>,
    ) -> Result<(), OutOfMemory> {
        let agreed = compared && !self.undecided;
        for candidate in self.candidates.drain(..) {
            let finding = match agreed {
                true => candidate.restore(),
                false => candidate.leave(Unrestored::NoAgreedTree),
            };
            try_push(findings, finding)?;
        }
        Ok(())
    }
}

/// The sequence of the entry that a leaf belongs to.
fn sequence_of(leaf: &Place) -> i64 {
    // Leaves lie within a tree size, below 2^53.
    leaf.node.index as i64 + 1
}

/// Whether a row that fails speaks against the peer's leaf: its own leaf is another one, and that is not what was changed, for the
/// rest of the row does not hash to the peer's either.
fn stands_against(row: &StoredRow<'_>, context: &str, theirs: Hash) -> bool {
    let computed = row
        .content()
        .map(|content| row.entry(context, content).leaf_hash());
    row.leaf().is_some_and(|leaf| leaf != theirs) && computed != Some(theirs)
}

/// Whether the row is the one that was asked for, and the one whose leaf was stated.
fn check_leaf(
    row: Option<&StoredRow<'_>>,
    stated: Option<Hash>,
    sequence: i64,
) -> Result<(), Contradiction> {
    match (row, stated) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(Contradiction::MissingEntry { sequence }),
        (Some(row), _) if row.sequence != sequence => Err(Contradiction::OtherEntry {
            asked: sequence,
            received: row.sequence,
        }),
        (Some(row), _) if row.leaf() != stated => Err(Contradiction::OtherLeaf { sequence }),
        _ => Ok(()),
    }
}

fn first(entry: &Entry<'_>, leaf: Hash) -> Result<First, OutOfMemory> {
    Ok(First {
        leaf,
        lamport: entry.lamport,
        origin: try_text(entry.origin)?,
        key: try_text(entry.key)?,
    })
}
