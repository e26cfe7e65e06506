//! What consecutive nodes combine to in the RFC 6962 tree.
//!
//! The other tree is not compared: both stand over the same leaves, and a root of this one is
//! bound to its size by itself.

use alloc::vec::Vec;

use crate::hash::{Hash, Tree};
use crate::merkle::{NodeId, Run, BLOCK, STORED_LEVELS};

/// The largest complete nodes over the leaves so far, from the left, of falling levels.
///
/// *Requires* that nodes come from left to right without a gap, each complete, of levels that do
/// not rise.
#[derive(Clone, Debug, Default)]
pub(super) struct Peaks(Vec<(NodeId, Hash)>);

impl Peaks {
    pub(super) fn push(&mut self, mut node: NodeId, mut hash: Hash) {
        while node.index % 2 == 1 {
            match self.0.last() {
                Some((left, left_hash)) if left.level == node.level => {
                    hash = Tree::Rfc6962.node(*left_hash, hash);
                }
                _ => break,
            }
            self.0.pop();
            node = NodeId {
                level: node.level + 1,
                index: node.index >> 1,
            };
        }
        #[allow(clippy::disallowed_methods, reason = "at most one for each level")]
        self.0.push((node, hash));
    }

    pub(super) fn root(&self) -> Hash {
        let mut peaks = self.0.iter().rev().map(|(_, hash)| *hash);
        let Some(last) = peaks.next() else {
            return Tree::Rfc6962.empty_root();
        };
        peaks.fold(last, |right, left| Tree::Rfc6962.node(left, right))
    }
}

/// What the nodes of a run combine to; nothing where one is missing.
pub(super) fn combine(run: Run, nodes: &[Option<Hash>]) -> Option<Hash> {
    let mut peaks = Peaks::default();
    for (node, hash) in nodes_of(run).zip(nodes) {
        peaks.push(node, (*hash)?);
    }
    Some(peaks.root())
}

/// The nodes of a run.
pub(super) fn nodes_of(run: Run) -> impl Iterator<Item = NodeId> {
    (run.first..run.first + run.count).map(move |index| NodeId {
        level: run.level,
        index,
    })
}

/// The largest complete stored nodes and then leaves that a tree of `size` leaves consists of,
/// from leaf `start` on, where a node begins: the next run of them, or nothing at the end.
pub(super) fn next_of_edge(start: u64, size: u64) -> Option<Run> {
    let level = STORED_LEVELS
        .into_iter()
        .rev()
        .find(|level| start.is_multiple_of(1 << level) && (size - start) >> level > 0)
        .unwrap_or(0);
    let first = start >> level;
    let count = ((size - start) >> level).min(BLOCK - first % BLOCK);
    (count > 0).then_some(Run {
        level,
        first,
        count,
    })
}

/// What a stored node is looked into by: the nodes of the lowest stored level that are at most
/// 256 of them, so that the descent is short and no answer is long.
pub(super) fn below(node: NodeId) -> Run {
    let level = STORED_LEVELS
        .into_iter()
        .find(|level| *level < node.level && node.level - *level <= 8)
        .unwrap_or(0);
    let step = node.level - level;
    Run {
        level,
        first: node.index << step,
        count: 1 << step,
    }
}
