//! Where a node stands, and which levels are stored.

use core::fmt;

/// How many leaves make a node of the lowest stored level.
pub const BLOCK: u64 = 256;

/// Levels whose complete nodes are worth storing beside the leaves (level 0): one row per 256
/// entries, and above that one more for every 16 rows of the level below, so that a tree ends in
/// at most 15 nodes of each.
pub const STORED_LEVELS: [u8; 5] = [8, 12, 16, 20, 24];

/// A node of a tree, the same place in both trees.
///
/// Level 0 holds the leaves. The node `index` of `level` covers the leaves
/// `index << level .. (index + 1) << level`:
///
/// ```text
/// level 3                        0
///                  ┌─────────────┴─────────────┐
/// level 2          0                           1
///            ┌─────┴─────┐               ┌─────┴─────┐
/// level 1    0           1               2           3
///         ┌──┴──┐     ┌──┴──┐         ┌──┴──┐     ┌──┴──┐
/// level 0 0     1     2     3         4     5     6     7
/// ```
///
/// A node is *complete* in a tree that has all the leaves it covers; its hashes are then fixed
/// for ever. The last node of a level may cover fewer leaves than its place allows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId {
    /// Distance from the leaves.
    pub level: u8,
    /// Place in the level, from 0.
    pub index: u64,
}

// Sizes stay below 2^53 and levels below 54, so no shift here can lose a bit or overflow.
impl NodeId {
    /// The first leaf that it covers.
    pub(crate) fn first_leaf(self) -> u64 {
        self.index << self.level
    }

    /// Whether a tree of `size` leaves has all the leaves that it covers.
    pub(crate) fn is_complete(self, size: u64) -> bool {
        (self.index + 1) << self.level <= size
    }

    /// Its children; none for a leaf.
    pub(crate) fn children(self) -> Option<(NodeId, NodeId)> {
        let level = self.level.checked_sub(1)?;
        let left = NodeId {
            level,
            index: self.index << 1,
        };
        Some((
            left,
            NodeId {
                level,
                index: left.index + 1,
            },
        ))
    }

    /// The nearest level at or below its own that is stored.
    pub(crate) fn stored_level(self) -> u8 {
        STORED_LEVELS
            .into_iter()
            .rev()
            .find(|stored| *stored <= self.level)
            .unwrap_or(0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "node {} of level {}", self.index, self.level)
    }
}
