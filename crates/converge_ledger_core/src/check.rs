//! Which rows of a context are at fault: the decision of a full check, fed row by row.
//!
//! Every row is hashed again and compared with its leaf; what one row cannot prove (order, clock,
//! owner, erasure) is judged from row to row. A row that does not hash to its leaf is held back
//! until the next one is known, so that both neighbours can help to tell what was changed (see
//! `trial`); its stored leaf still goes into the tree, because roots are roots of stored leaves.
//!
//! Memory is O(log n), plus one entry, plus erased entries whose `$erase` has not come yet. What
//! needs more (an id used twice, stored subtrees, the schema) is the shell's matter. A check of
//! one database finds accidents and clumsy tampering; a history that was rewritten as a whole is
//! sound here and found only by comparing roots with another node or an earlier checkpoint.

mod fault;
mod ownership;
mod row;
mod trial;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

pub use fault::{Fault, FaultKind};
use ownership::Ownership;
pub use row::StoredRow;
use row::{check_format, check_limits, stored_content, stored_leaf, NO_CONTENT};
use trial::{changed, Explained, Neighbours, Place, Recent, Suspect, TRIES_PER_CONTEXT};

use crate::control::{erased_entries, ControlKey};
use crate::entry::{Content, Entry};
use crate::hash::{Hash, NodeHashes, Tree};
use crate::limits::MAX_NUMBER;
use crate::memory::{try_push, OutOfMemory};
use crate::merkle::{Frontier, NodeId};

/// What a checked context amounts to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// How many rows were fed.
    pub rows: u64,
    /// How many entries stand from sequence 1 without a gap and with a leaf. Roots and completed
    /// nodes go no further, whatever follows.
    pub size: u64,
    /// The roots over those entries' stored leaves.
    pub roots: NodeHashes,
    /// The greatest sequence that was fed, 0 for none.
    pub last_sequence: i64,
    /// The Lamport time of the last entry that holds.
    pub last_lamport: Option<i64>,
    /// The origin that owns the context at its end.
    pub owner: Option<String>,
}

/// The clock and time of the last entry that holds.
#[derive(Clone, Copy, Debug)]
struct Moment {
    sequence: i64,
    lamport: i64,
    appended_at: i64,
}

/// A check of one context. Feed it every row in order of sequence, then [`ContextCheck::finish`].
///
/// Cost per row: its leaf hash and about two inner nodes; no allocation where the row holds and
/// its key was seen lately. Trials on rows that do not hold are bounded per row and per context.
#[derive(Debug)]
pub struct ContextCheck<'a> {
    context: &'a str,
    rows: u64,
    next_sequence: i64,
    frontier: Frontier,
    /// Whether the frontier holds every row so far: false from the first gap or missing leaf on.
    whole: bool,
    latest: Option<Moment>,
    ownership: Ownership,
    /// Erased entries and their leaves, until an `$erase` names them.
    unexplained: BTreeMap<i64, Hash>,
    suspect: Option<Suspect>,
    recent: Recent,
    tries: u32,
}

impl<'a> ContextCheck<'a> {
    /// A check of the context with this name.
    pub fn new(context: &'a str) -> Self {
        Self {
            context,
            rows: 0,
            next_sequence: 1,
            frontier: Frontier::new(),
            whole: true,
            latest: None,
            ownership: Ownership::default(),
            unexplained: BTreeMap::new(),
            suspect: None,
            recent: Recent::default(),
            tries: TRIES_PER_CONTEXT,
        }
    }

    /// Takes the next row; adds the faults that are certain by now, and calls `completed` for each
    /// node of a stored level over stored leaves, to be compared with stored subtrees.
    pub fn row(
        &mut self,
        row: &StoredRow<'_>,
        faults: &mut Vec<Fault>,
        completed: &mut impl FnMut(NodeId, NodeHashes),
    ) -> Result<(), OutOfMemory> {
        self.settle(Some(row), faults)?;
        self.rows += 1;
        let content = stored_content(row, faults)?;
        let leaf = stored_leaf(row, faults)?;
        let mut entry = row.entry(self.context, content.unwrap_or(NO_CONTENT));
        let mut holds = content.is_some() && leaf == Some(entry.leaf_hash());
        if !check_format(row, holds, faults)? || content.is_none() {
            // Nothing to compare the leaf with; it still has its place in the tree.
            if self.place(row.sequence, faults)? {
                self.grow(leaf, completed);
            }
            return Ok(());
        }
        if let (false, Some(leaf)) = (holds || row.sequence == self.next_sequence, leaf) {
            // A row whose number was changed is one fault, not also a gap before it.
            let expected = self.next_sequence;
            let original = self
                .recent
                .original_sequence(&entry, leaf, expected, &mut self.tries);
            if let Some(original) = original {
                let detail = changed("sequence", row.sequence, original);
                try_push(faults, Fault::at(row.sequence, FaultKind::Order, detail))?;
                if original != expected {
                    return Ok(());
                }
                entry.sequence = original;
                holds = true;
            }
        }
        let in_order = self.place(entry.sequence, faults)?;
        if let (true, Some(leaf)) = (holds, leaf) {
            check_limits(&entry, faults)?;
            if in_order {
                let takeover = entry.key == ControlKey::Takeover.as_str();
                let history = takeover.then(|| self.history()).flatten();
                self.judge(&entry, leaf, history, faults)?;
                self.recent.remember(&entry)?;
            }
        } else if let Some(leaf) = leaf {
            let place = match in_order {
                true => Place::InOrder {
                    history: self.history(),
                },
                false => Place::OutOfOrder,
            };
            self.suspect = Some(Suspect::new(&entry, row.appended_at, leaf, place)?);
        }
        if in_order {
            self.grow(leaf, completed);
        }
        Ok(())
    }

    /// Ends the check: adds the faults that only the end makes certain.
    pub fn finish(mut self, faults: &mut Vec<Fault>) -> Result<Summary, OutOfMemory> {
        self.settle(None, faults)?;
        self.ownership.end_run(faults)?;
        for (sequence, leaf) in &self.unexplained {
            let fault = Fault::at(
                *sequence,
                FaultKind::Erasure,
                format!("content is missing, but no later $erase names leaf {leaf}"),
            );
            try_push(faults, fault)?;
        }
        Ok(Summary {
            rows: self.rows,
            size: self.frontier.size(),
            roots: self.frontier.roots(),
            last_sequence: self.next_sequence - 1,
            last_lamport: self.latest.map(|latest| latest.lamport),
            owner: self.ownership.into_owner(),
        })
    }

    /// The root over all entries so far, unless some are missing.
    fn history(&self) -> Option<Hash> {
        self.whole.then(|| self.frontier.root(Tree::Rfc6962))
    }

    fn grow(&mut self, leaf: Option<Hash>, completed: &mut impl FnMut(NodeId, NodeHashes)) {
        match leaf {
            Some(leaf) if self.whole => self.frontier.append(leaf, completed),
            _ => self.whole = false,
        }
    }

    /// Whether a row stands after all rows before it, where the next one is then expected.
    fn place(&mut self, sequence: i64, faults: &mut Vec<Fault>) -> Result<bool, OutOfMemory> {
        let expected = self.next_sequence;
        if !(1..=MAX_NUMBER).contains(&sequence) {
            let detail = format!("sequence is outside 1 to {MAX_NUMBER}");
            try_push(faults, Fault::at(sequence, FaultKind::Order, detail))?;
            return Ok(false);
        }
        if sequence < expected {
            let (kind, detail) = if sequence == expected - 1 {
                (
                    FaultKind::Duplicate,
                    format!("another entry with sequence {sequence}"),
                )
            } else {
                (
                    FaultKind::Order,
                    format!("follows sequence {}", expected - 1),
                )
            };
            try_push(faults, Fault::at(sequence, kind, detail))?;
            return Ok(false);
        }
        if sequence > expected {
            let last = sequence - 1;
            let detail = match sequence - expected {
                1 => format!("entry {expected} is missing"),
                count => format!("entries {expected} to {last} are missing, {count} in all"),
            };
            try_push(faults, Fault::at(expected, FaultKind::Gap, detail))?;
            self.recent.remember_missing(expected, last);
            self.whole = false;
        }
        self.next_sequence = sequence + 1;
        Ok(true)
    }

    /// What an entry that holds says about the order of things. `history` is the root over all
    /// entries before it, where that is known.
    fn judge(
        &mut self,
        entry: &Entry<'_>,
        leaf: Hash,
        history: Option<Hash>,
        faults: &mut Vec<Fault>,
    ) -> Result<(), OutOfMemory> {
        let Entry {
            sequence,
            lamport,
            appended_at,
            ..
        } = *entry;
        if let Some(latest) = self.latest {
            if lamport <= latest.lamport {
                let detail = format!(
                    "Lamport time {lamport} does not follow {} of entry {}",
                    latest.lamport, latest.sequence
                );
                try_push(faults, Fault::at(sequence, FaultKind::Clock, detail))?;
            }
            if appended_at < latest.appended_at {
                let detail = format!(
                    "appended {} microseconds before entry {}",
                    latest.appended_at.saturating_sub(appended_at),
                    latest.sequence
                );
                try_push(faults, Fault::at(sequence, FaultKind::Time, detail))?;
            }
        }
        self.latest = Some(Moment {
            sequence,
            lamport,
            appended_at,
        });
        self.ownership.judge(entry, history, faults)?;
        self.judge_erasure(entry, leaf, faults)
    }

    fn judge_erasure(
        &mut self,
        entry: &Entry<'_>,
        leaf: Hash,
        faults: &mut Vec<Fault>,
    ) -> Result<(), OutOfMemory> {
        let sequence = entry.sequence;
        match (ControlKey::from_key(entry.key), entry.content) {
            (None, Content::Digest(_)) => {
                self.unexplained.insert(sequence, leaf);
            }
            (Some(_), Content::Digest(_)) => {
                let detail = String::from("content of a control entry is missing");
                try_push(faults, Fault::at(sequence, FaultKind::Erasure, detail))?;
            }
            (Some(ControlKey::Erase), Content::Whole { payload, .. }) => {
                let Some(erased) = erased_entries(payload) else {
                    let detail = String::from("payload does not list erased entries");
                    return try_push(faults, Fault::at(sequence, FaultKind::Erasure, detail));
                };
                for erased in erased {
                    if self.unexplained.get(&erased.sequence) == Some(&erased.leaf) {
                        self.unexplained.remove(&erased.sequence);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Reports the row that is held back, if any, now that the next one is known.
    fn settle(
        &mut self,
        next: Option<&StoredRow<'_>>,
        faults: &mut Vec<Fault>,
    ) -> Result<(), OutOfMemory> {
        let Some(mut suspect) = self.suspect.take() else {
            return Ok(());
        };
        let around = Neighbours {
            before: self.latest,
            next,
            owner: self.ownership.owner(),
            recent: &self.recent,
        };
        let verdict = suspect.explain(&around, &mut self.tries)?;
        try_push(faults, verdict.fault)?;
        let Place::InOrder { history } = suspect.place() else {
            return Ok(());
        };
        let (entry, leaf) = (suspect.entry(), suspect.leaf());
        if verdict.explained == Explained::Restored {
            self.judge(&entry, leaf, history, faults)?;
            self.recent.remember(&entry)?;
        } else {
            self.ownership.accept_claim(&entry, history)?;
            let erased = matches!(entry.content, Content::Digest(_));
            if erased && ControlKey::from_key(entry.key).is_none() {
                self.unexplained.insert(entry.sequence, leaf);
            }
        }
        Ok(())
    }
}
