//! The leaves of the block that a transaction is filling, so that they need not be read back when it is complete.

use alloc::vec::Vec;

use crate::hash::{Hash, NodeHashes};
use crate::merkle::{block, BLOCK};

/// Consecutive leaves from the beginning of a block on.
#[derive(Debug, Default)]
pub struct Leaves {
    /// A transaction that touches very many contexts keeps the leaves of the first ones: 8 kB each.
    kept: bool,
    /// Sequence before the first of them.
    before: i64,
    hashes: Vec<Hash>,
    /// Last sequence and hashes of a block that was hashed elsewhere.
    complete: Option<(i64, NodeHashes)>,
    /// Rises whenever leaves are cut for another reason than that the subtransaction which brought them is undone.
    epoch: u64,
}

impl Leaves {
    /// Keeps none unless `kept`.
    pub fn new(kept: bool) -> Self {
        Self {
            kept,
            ..Self::default()
        }
    }

    /// Adds the leaf of the entry with this sequence.
    #[allow(clippy::disallowed_methods, reason = "there is room")]
    pub fn push(&mut self, sequence: i64, leaf: Hash) {
        if sequence % BLOCK as i64 == 1 {
            self.before = sequence - 1;
            self.hashes.clear();
        }
        // Otherwise one of the block was not kept. Without memory for it, the block is read from the table.
        let follows = self.before + self.hashes.len() as i64 == sequence - 1;
        if self.kept && follows && self.hashes.try_reserve(1).is_ok() {
            self.hashes.push(leaf);
        }
    }

    /// Sets the hashes of the block that ends with this sequence.
    pub fn set_complete(&mut self, last: i64, hashes: NodeHashes) {
        self.complete = Some((last, hashes));
    }

    /// The hashes of the block that ends with this sequence, if they or all its leaves are known.
    #[allow(clippy::disallowed_methods, reason = "there is room")]
    pub fn complete(&self, last: i64) -> Option<NodeHashes> {
        match self.complete {
            Some((known, hashes)) if known == last => Some(hashes),
            _ if self.are_all(last) => {
                let mut leaves = Vec::new();
                leaves.try_reserve_exact(self.hashes.len()).ok()?;
                leaves.extend(self.hashes.iter().copied().map(NodeHashes::leaf));
                block(&leaves)
            }
            _ => None,
        }
    }

    /// Whether [`Leaves::complete`] has an answer.
    pub fn is_complete(&self, last: i64) -> bool {
        self.complete.is_some_and(|(known, _)| known == last) || self.are_all(last)
    }

    fn are_all(&self, last: i64) -> bool {
        self.hashes.len() as u64 == BLOCK && self.before + BLOCK as i64 == last
    }

    /// Entries behind this sequence are gone.
    pub fn cut(&mut self, sequence: i64) {
        self.epoch += 1;
        self.truncate(sequence);
    }

    /// All entries are others.
    pub fn clear(&mut self) {
        self.cut(0);
        self.before = 0;
    }

    /// As of when [`Leaves::undo`] may go back to here.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Goes back to where the last entry had this sequence.
    pub fn undo(&mut self, epoch: u64, sequence: i64) {
        match epoch == self.epoch {
            true => self.truncate(sequence),
            // Those that are left may stand in the place of others that are back.
            false => self.clear(),
        }
    }

    fn truncate(&mut self, sequence: i64) {
        self.complete = self.complete.filter(|(last, _)| *last <= sequence);
        let left = (sequence - self.before).max(0);
        self.hashes.truncate(left as usize);
    }
}
