//! Which stored rows and subtrees are at fault, judged from any place of a context on: what a scrub
//! that goes on where it stopped can tell.
//!
//! A row is judged by itself and against the last sound row before it. What needs all rows from the
//! first one, or those that follow, is left to [`crate::check`]: what an edited field was before,
//! and whether an `$erase` names an entry without content.

use alloc::string::String;
use core::fmt;

use crate::check::StoredRow;
use crate::continuation::{Discontinuity, Successor};
use crate::entry::{Content, Entry, EntryError};
use crate::hash::{Hash, NodeHashes};
use crate::limits::{FORMAT, MAX_NUMBER};
use crate::merkle::above;

/// What is wrong with a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RowFault {
    /// Its leaf hash is missing or has not 32 bytes.
    NoLeaf,
    /// It is of another format than 1.
    Format(i16),
    /// Neither its content nor the digest of it is there.
    NoContent,
    /// Its content is there in part, or beside a digest.
    PartialContent,
    /// It does not hash to its leaf.
    OtherLeaf {
        /// What it hashes to.
        computed: Hash,
    },
    /// It breaks a limit of the format.
    Limit(EntryError),
    /// Its sequence is none, or that of another row.
    Sequence,
    /// Its Lamport time is not above that of the sound entry before it.
    Clock {
        /// Its time.
        lamport: i64,
        /// The time before.
        previous: i64,
    },
    /// Its time lies before that of the sound entry before it.
    Time,
    /// Its origin does not own the context, or it takes over another history.
    Owner(Discontinuity),
}

/// Written so that it can follow a colon.
impl fmt::Display for RowFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RowFault::NoLeaf => formatter.write_str("its leaf hash is missing or no hash"),
            RowFault::Format(format) => write!(formatter, "its format {format} is not known"),
            RowFault::NoContent => formatter.write_str("its content is missing"),
            RowFault::PartialContent => {
                formatter.write_str("its content is there in part, or beside a digest of it")
            }
            RowFault::OtherLeaf { computed } => {
                write!(formatter, "it hashes to {computed}, not to its leaf")
            }
            RowFault::Limit(error) => write!(formatter, "it is no entry of format 1: {error}"),
            RowFault::Sequence => formatter.write_str("its sequence is none or there twice"),
            RowFault::Clock { lamport, previous } => write!(
                formatter,
                "its Lamport time {lamport} does not follow {previous}"
            ),
            RowFault::Time => formatter.write_str("its time lies before that of the entry before"),
            RowFault::Owner(discontinuity) => discontinuity.fmt(formatter),
        }
    }
}

/// What a row says by itself.
///
/// *Proves less than it may seem*: a row that was written anew, with its leaf, is sound. The tree
/// tells, or another node.
pub fn sound<'a>(context: &'a str, row: &StoredRow<'a>) -> Result<Entry<'a>, RowFault> {
    let leaf = row.leaf().ok_or(RowFault::NoLeaf)?;
    if row.format != i16::from(FORMAT) {
        return Err(RowFault::Format(row.format));
    }
    let content = row.content().ok_or(RowFault::NoContent)?;
    let entry = row.entry(context, content);
    let computed = entry.leaf_hash();
    if computed != leaf {
        return Err(RowFault::OtherLeaf { computed });
    }
    let partial = match content {
        Content::Whole { .. } => row.content_digest.is_some(),
        Content::Digest(_) => row.payload.is_some() || row.metadata.is_some() || row.salt.is_some(),
    };
    if partial {
        return Err(RowFault::PartialContent);
    }
    entry.check().map_err(RowFault::Limit)?;
    Ok(entry)
}

/// The last sound row.
#[derive(Debug)]
struct Before {
    lamport: i64,
    appended_at: i64,
    /// The owner of the context, unless a row between may have changed it.
    owner: String,
    owner_is_known: bool,
}

/// Judges rows of one context in order, from any place on.
#[derive(Debug)]
pub struct RowsInOrder<'a> {
    context: &'a str,
    before: Option<Before>,
    /// The sequence of the last row.
    last: i64,
}

impl<'a> RowsInOrder<'a> {
    /// Begins behind an entry whose row is not known, 0 for the beginning of the context.
    pub fn behind(context: &'a str, sequence: i64) -> Self {
        Self {
            context,
            before: None,
            last: sequence,
        }
    }

    /// Takes the row that the first one to be judged follows.
    pub fn follow(&mut self, row: &StoredRow<'_>) {
        if let Ok(entry) = sound(self.context, row) {
            self.remember(&entry);
        }
    }

    /// The sequence that the next row should have.
    pub fn expected(&self) -> i64 {
        self.last + 1
    }

    /// Takes rows that are missing before the one with this sequence as known.
    pub fn skip_to(&mut self, sequence: i64) {
        self.last = sequence - 1;
        self.lose_owner();
    }

    /// Judges the next row. `root` gives the RFC 6962 root over all entries before it, if it is
    /// known; it is called for a `$takeover` only.
    pub fn judge(
        &mut self,
        row: &StoredRow<'_>,
        root: impl FnOnce() -> Option<Hash>,
    ) -> Result<(), RowFault> {
        if row.sequence != self.expected() || row.sequence > MAX_NUMBER {
            return Err(RowFault::Sequence);
        }
        self.last = row.sequence;
        let entry = match sound(self.context, row) {
            Ok(entry) => entry,
            Err(fault) => {
                // It may have been a take-over.
                self.lose_owner();
                return Err(fault);
            }
        };
        let next = Successor::from(&entry);
        let takeover = match next.is_takeover() {
            true => next.takeover(root()),
            false => None,
        };
        let Some(before) = &self.before else {
            self.remember(&entry);
            return takeover.map_or(Ok(()), |said| said.map_err(RowFault::Owner));
        };
        let foreign = before.owner_is_known && before.owner != entry.origin;
        let fault = match takeover {
            Some(Err(discontinuity)) => Some(RowFault::Owner(discontinuity)),
            None if foreign => Some(RowFault::Owner(Discontinuity::ForeignOrigin)),
            _ => None,
        };
        let (previous, lamport) = (before.lamport, entry.lamport);
        let fault = fault
            .or((lamport <= previous).then_some(RowFault::Clock { lamport, previous }))
            .or((entry.appended_at < before.appended_at).then_some(RowFault::Time));
        match fault {
            // Those of the owner that follow are no faults.
            Some(fault @ RowFault::Owner(_)) => Err(fault),
            Some(fault) => {
                self.remember(&entry);
                Err(fault)
            }
            None => {
                self.remember(&entry);
                Ok(())
            }
        }
    }

    #[allow(clippy::disallowed_methods, reason = "a name has a limit")]
    fn remember(&mut self, entry: &Entry<'_>) {
        let before = self.before.get_or_insert_with(|| Before {
            lamport: 0,
            appended_at: 0,
            owner: String::new(),
            owner_is_known: false,
        });
        before.lamport = entry.lamport;
        before.appended_at = entry.appended_at;
        before.owner_is_known = true;
        if before.owner != entry.origin {
            before.owner.clear();
            before.owner.push_str(entry.origin);
        }
    }

    fn lose_owner(&mut self) {
        if let Some(before) = &mut self.before {
            before.owner_is_known = false;
        }
    }
}

/// A stored subtree that speaks about one below it: its hashes, and those of its children as they
/// are stored.
#[derive(Clone, Copy, Debug)]
pub struct Parent<'a> {
    /// Of the subtree.
    pub hashes: NodeHashes,
    /// Of all its children.
    pub children: &'a [NodeHashes],
    /// Which of them is in question.
    pub at: usize,
}

/// Whether a stored subtree is certainly wrong, although `computed`, what is below it, is another
/// one. If this is false, what is below may have been changed since, and the subtree is the
/// evidence: two things that disagree, and nothing that tells which is right.
///
/// *Requires* that all that is below it is sound by itself.
#[allow(clippy::disallowed_methods, reason = "at most 256")]
pub fn is_wrong(stored: NodeHashes, computed: NodeHashes, parent: Option<Parent<'_>>) -> bool {
    // Nobody can find other leaves that give one of the two hashes.
    let fits = |one: NodeHashes, other: NodeHashes| {
        one.bitcoin == other.bitcoin || one.rfc6962 == other.rfc6962
    };
    if fits(stored, computed) {
        return true;
    }
    parent.is_some_and(|parent| {
        let mut children = parent.children.to_vec();
        let Some(child) = children.get_mut(parent.at) else {
            return false;
        };
        *child = computed;
        above(&children).is_some_and(|combined| fits(combined, parent.hashes))
    })
}
