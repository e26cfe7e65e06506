//! The leaves of the block that a transaction is filling, so that they need not be read back when it is complete.

use super::blocks::BLOCK;
use crate::memory;
use converge_ledger_core::hash::{Hash, NodeHashes};
use converge_ledger_core::merkle::block;

/// Consecutive leaves from the beginning of a block on.
pub struct Leaves {
    /// A transaction that touches very many contexts keeps the leaves of the first ones: 8 kB each.
    kept: bool,
    /// Sequence before the first of them.
    before: i64,
    hashes: Vec<Hash>,
    /// Last sequence and hashes of a block that was hashed elsewhere.
    complete: Option<(i64, NodeHashes)>,
}

impl Leaves {
    pub fn new(kept: bool) -> Leaves {
        Leaves {
            kept,
            before: 0,
            hashes: Vec::new(),
            complete: None,
        }
    }

    /// Adds the leaf of the entry with this sequence.
    pub fn push(&mut self, sequence: i64, leaf: Hash) {
        if sequence % BLOCK == 1 {
            self.before = sequence - 1;
            self.hashes.clear();
        }
        // Otherwise one of the block was not kept.
        if self.kept && self.before + self.hashes.len() as i64 == sequence - 1 {
            memory::push(&mut self.hashes, leaf);
        }
    }

    /// Sets the hashes of the block that ends with this sequence.
    pub fn set_complete(&mut self, last: i64, hashes: NodeHashes) {
        self.complete = Some((last, hashes));
    }

    /// The hashes of the block that ends with this sequence, if they or all its leaves are known.
    pub fn complete(&self, last: i64) -> Option<NodeHashes> {
        match self.complete {
            Some((known, hashes)) if known == last => Some(hashes),
            _ if self.are_all(last) => {
                let leaves = self.hashes.iter().copied().map(NodeHashes::leaf);
                block(&memory::collect(leaves))
            }
            _ => None,
        }
    }

    /// Whether [`Leaves::complete`] has an answer.
    pub fn is_complete(&self, last: i64) -> bool {
        self.complete.is_some_and(|(known, _)| known == last) || self.are_all(last)
    }

    fn are_all(&self, last: i64) -> bool {
        self.hashes.len() as i64 == BLOCK && self.before + BLOCK == last
    }

    /// Entries after this sequence were given up.
    pub fn forget_behind(&mut self, sequence: i64) {
        self.complete = self.complete.filter(|(last, _)| *last <= sequence);
        self.hashes
            .truncate((sequence - self.before).max(0) as usize);
    }
}
