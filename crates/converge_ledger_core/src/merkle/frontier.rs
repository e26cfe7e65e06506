//! The growing edge of a tree: leaves go in one by one, nodes worth storing and roots come out.
//!
//! Invariant: it holds one node per set bit of the size, the peaks, from the largest to the
//! smallest. Memory O(log n), per leaf one inner node on average.

use alloc::vec::Vec;

use crate::hash::{Hash, NodeHashes, Tree};
use crate::merkle::climb::{climb, last_peak, Beside};
use crate::merkle::node::{NodeId, BLOCK, STORED_LEVELS};

/// The edge of a growing tree, in both trees.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Frontier {
    size: u64,
    peaks: Vec<NodeHashes>,
}

impl Frontier {
    /// The edge of the empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a leaf; calls `completed` for each node of a stored level that this
    /// completes, lower levels first.
    pub fn append(&mut self, leaf: Hash, completed: &mut impl FnMut(NodeId, NodeHashes)) {
        let mut node = NodeId {
            level: 0,
            index: self.size,
        };
        let mut hashes = NodeHashes::leaf(leaf);
        while node.index % 2 == 1 {
            let Some(left) = self.peaks.pop() else { break };
            hashes = NodeHashes::parent(left, hashes);
            node = NodeId {
                level: node.level + 1,
                index: node.index >> 1,
            };
            if STORED_LEVELS.contains(&node.level) {
                completed(node, hashes);
            }
        }
        #[allow(clippy::disallowed_methods, reason = "at most one for each level")]
        self.peaks.push(hashes);
        self.size += 1;
    }

    /// How many leaves went in.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root over them. Cost: one hash per level.
    pub fn root(&self, tree: Tree) -> Hash {
        self.roots().of(tree)
    }

    /// The roots in both trees.
    pub fn roots(&self) -> NodeHashes {
        let mut peaks = self.peaks.iter().rev().copied();
        let (Some(start), Some(lowest)) = (last_peak(self.size), peaks.next()) else {
            return NodeHashes::empty_root();
        };
        climb(start, self.size).fold(lowest, |node, beside| {
            let peak = matches!(beside, Beside::Left(_))
                .then(|| peaks.next())
                .flatten();
            peak.map_or(Beside::Nothing, Beside::Left).parent(node)
        })
    }
}

/// The node above the 256 leaves of a block, or nothing for another number.
///
/// *Requires* that the first of them stands at a multiple of 256.
pub fn block(leaves: &[NodeHashes]) -> Option<NodeHashes> {
    (leaves.len() as u64 == BLOCK).then(|| above(leaves))?
}

/// The node above consecutive nodes, or nothing where their number is no power of two.
///
/// *Requires* that the first of them stands at a multiple of their number.
#[allow(clippy::disallowed_methods, reason = "at most 256")]
pub fn above(children: &[NodeHashes]) -> Option<NodeHashes> {
    if !children.len().is_power_of_two() {
        return None;
    }
    let mut level = children.to_vec();
    while level.len() > 1 {
        level = level
            .chunks_exact(2)
            .filter_map(|pair| match pair {
                [left, right] => Some(NodeHashes::parent(*left, *right)),
                _ => None,
            })
            .collect();
    }
    level.first().copied()
}
